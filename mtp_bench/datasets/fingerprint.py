"""A fast fingerprint of the files that a job reads: names and sizes of all, bytes of some."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from mtp_bench.datasets.manifest import read
from mtp_bench.datasets.samples import ReadData
from mtp_bench.errors import UserError

SAMPLED = 64
ENDS = 1 << 19
"""Bytes read at either end of a sampled file: scenes of gigabytes are not read whole."""


def fingerprint(data: ReadData) -> str:
    """16 hex digits that differ where a file, its size, its label or its split differs."""
    samples = [(name, s) for name, split in sorted(data.splits.items()) for s in split]
    return of_files(((f"{name}", s.path, f"{s.label}") for name, s in samples), data.root)


def of_files(files: Iterable[tuple[str, Path, str]], root: Path) -> str:
    """The same of any files, each with its split and a word on it.

    The content of 64 evenly spaced files is read; all of it would take minutes on a release.
    ``UserError`` names a file that cannot be read.
    """
    digest, listed = hashlib.sha256(), list(files)
    try:
        for split, path, word in listed:
            place = path.relative_to(root).as_posix()
            told = f"{split} {place} {word} {path.stat().st_size}\n"
            digest.update(told.encode(errors="surrogatepass"))  # names need not be UTF-8
        for _, path, _ in listed[:: max(1, len(listed) // SAMPLED)]:
            digest.update(hashlib.sha256(_ends(path)).digest())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()[:16]


def of_manifests(folder: Path, root: Path, splits: Iterable[str]) -> str:
    """The same of prepared splits: all their annotations, and the content of some pictures."""
    digest = hashlib.sha256()
    pictures: list[tuple[str, Path, str]] = []
    for split in splits:
        digest.update((folder / f"{split}.jsonl").read_bytes())
        pictures += [(split, path, "") for s in read(folder, split, root) for path in s.images]
    some = pictures[:: max(1, len(pictures) // SAMPLED)]
    for base in (folder, root):
        digest.update(of_files((p for p in some if p[1].is_relative_to(base)), base).encode())
    return digest.hexdigest()[:16]


def _ends(path: Path) -> bytes:
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size <= 2 * ENDS:
            return stream.read()
        first = stream.read(ENDS)
        stream.seek(-ENDS, os.SEEK_END)
        return first + stream.read()
