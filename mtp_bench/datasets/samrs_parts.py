"""Which pictures of SAMRS a pretraining trains on, is judged on, and leaves out."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtp_bench import catalog
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.fingerprint import of_manifests
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.reading import find
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.store.paths import find_folder

TWINS = {"SOTA-RBB": ("DOTA-v2.0", "DOTA-v1.0")}
"""Benchmarks whose validation pictures a set has tiles of, under the names of their scenes."""
LISTED = {"FAST": "fair1m_1024/validation.txt"}
"""FAST's files are renamed: the list of those that are of FAIR1M-2.0's validation is the user's."""
LEAST_SHARE = 10


@dataclass(frozen=True)
class Parts:
    """The pictures of one set."""

    train: list[Sample]
    held_out: list[Sample]
    excluded: int


def split(loaded: Loaded, held_out: int, exclude: str, data: str | None) -> Parts:
    """``held_out``: so many pictures, at most a tenth, are judged and never trained on.

    Which they are depends on their names alone. ``exclude``: ``val``, or ``none``.

    Raises:
        UserError: where nobody can tell which pictures are of a validation set.
    """
    labelled = [s for _, s in loaded.samples("train") if s.mask or s.instances or _boxes(s)]
    rendered = loaded.prepared.synthetic  # it shares no picture with any other set
    names = set() if exclude == "none" or rendered else _validation(loaded.card.name, data)
    kept = [s for s in labelled if not names & {_stem(s), _stem(s).partition("__")[0]}]
    count = min(held_out, max(1, len(kept) // LEAST_SHARE))
    chosen = set(sorted((_rank(s), s.scene) for s in kept)[:count])
    judged = [s for s in kept if (_rank(s), s.scene) in chosen]
    trained = [s for s in kept if (_rank(s), s.scene) not in chosen]
    if not trained:
        raise UserError(f"{loaded.card.name}: {len(kept)} labelled pictures: too few to train on")
    return Parts(trained, judged, len(labelled) - len(kept))


def _boxes(sample: Sample) -> bool:
    return sample.objects is not None and len(sample.objects) > 0


def _stem(sample: Sample) -> str:
    return sample.scene.rpartition("/")[2]


def _rank(sample: Sample) -> str:
    return hashlib.sha256(sample.scene.encode(errors="surrogatepass")).hexdigest()


def _validation(name: str, data: str | None) -> set[str]:
    """Names of the pictures of validation sets that a set holds."""
    root = Path(data) if data else None
    for twin in TWINS.get(name, ()):
        folder = find_folder(root, catalog.find("dataset", twin).facts["folder"]) if root else None
        if folder is not None:
            items = find(card_of(twin), folder).items
            return {item.key.rpartition("/")[2] for item in items if item.split == "val"}
    if name in TWINS:
        twins = " or ".join(TWINS[name])
        raise UserError(f"{name}: 'exclude: val' goes by the names of val of {twins}: put it there")
    if name not in LISTED:
        return set()
    samrs = find_folder(root, catalog.find("dataset", name).facts["folder"]) if root else None
    listed = samrs / LISTED[name] if samrs else None
    if listed is None or not listed.is_file():
        raise UserError(
            f"{name}: its files are renamed: 'exclude: val' needs a list of those that are of "
            f"FAIR1M-2.0's validation, a name a line: {listed or LISTED[name]}"
        )
    return {line.strip() for line in listed.read_text().splitlines() if line.strip()}


def data_facts(sets: Mapping[str, tuple[Loaded, Parts]]) -> DataFacts:
    """What a record says of them together; an epoch ends with the shortest set."""
    defects: Counter[str] = Counter()
    digest = hashlib.sha256()
    for name, (loaded, parts) in sets.items():
        defects.update({f"{name} {what}": n for what, n in loaded.prepared.defects.items()})
        digest.update(of_manifests(loaded.folder, loaded.root, loaded.roles.train).encode())
        digest.update("\n".join(s.scene for s in parts.train).encode(errors="surrogatepass"))
    counts = {name: len(parts.train) for name, (_, parts) in sets.items()}
    excluded = sum(parts.excluded for _, parts in sets.values())
    less = f", without {excluded:,} of validation sets" if excluded else ""
    return DataFacts(
        counts={
            "train": sum(counts.values()),
            "test": sum(len(parts.held_out) for _, parts in sets.values()),
            **counts,
        },
        split_source=f"all labelled pictures{less}, some held out by their names",
        defects=dict(defects),
        fingerprint=digest.hexdigest()[:16],
        train_images=len(sets) * min(counts.values()),
    )
