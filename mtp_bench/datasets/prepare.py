"""Make a release ready for jobs: cut scenes, decode labels, deal out splits, once for each key.

Everything is made in a draft folder beside the prepared one, an item or a few at a time; what is
finished is never made again, whatever kills a run.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from mtp_bench.datasets import manifest
from mtp_bench.datasets.access import (
    Progress,
    card_of,
    check_disjoint,
    check_found,
    fitted,
    locate,
    render_missing,
    some,
)
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.fingerprint import of_files
from mtp_bench.datasets.making import Job, Part, Row, Survey, make, read_part, survey
from mtp_bench.datasets.manifest import Prepared, SplitCounts
from mtp_bench.datasets.pool import FEW, in_order
from mtp_bench.datasets.reading import counted, find
from mtp_bench.datasets.samples import Found, Item, deal, parts
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, write_atomically
from mtp_bench.store.lock import acquire, holder

PREPARE_VERSION = 1
"""Raised when the same release would give other files."""
CHUNK = 256
"""Items in a part where nothing is cut; a scene is a part of its own."""
GIB = 1024**3


def prepare(
    name: str,
    variant: str,
    data: Path | None,
    cache: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """The prepared folder of a dataset, made now if it is not there. See ``manifest``."""
    card, root = card_of(name), locate(name, variant, data, cache)
    if variant == "miniature":
        render_missing(name, cache)
    return prepare_folder(card, root, cache, variant=variant, workers=workers, progress=progress)


def prepare_folder(
    card: Card,
    root: Path,
    cache: Path,
    *,
    variant: str = "release",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """The same for a card and the folder of its release.

    Raises:
        UserError: everything that a job cannot use, at once; or no disk left; or another process
            prepares the same.
    """
    card = fitted(card, variant)
    found, items, blank = _asked(card, root, variant)
    folder = _folder(card, cache, blank)
    if manifest.prepared(folder) is not None:
        return folder
    draft = folder.with_name(f".{folder.name}.draft")
    taken = acquire(draft)
    if taken is None:
        who = holder(draft)
        told = f"process {who.pid} on {who.host}" if who else "another process"
        raise UserError(f"{card.name}: {told} prepares it in {draft}: wait until that is done")
    with taken:
        if manifest.prepared(folder) is None:  # made while this process came to the lock
            _remove_old_drafts(card, draft)
            job = Job(card, root, found.folder, draft)
            _make(job, items, blank, workers, progress)
            if not taken.is_mine():
                raise UserError(f"{card.name}: another process took over {draft}")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    shutil.rmtree(draft, ignore_errors=True)
    for path in folder.glob("lock.*"):
        path.unlink(missing_ok=True)
    return folder


def prepared_folder(card: Card, root: Path, cache: Path, *, variant: str = "release") -> Path:
    """Where it lies, or would. ``UserError`` for what a job of this variant cannot use."""
    card = fitted(card, variant)
    return _folder(card, cache, _asked(card, root, variant)[2])


def _folder(card: Card, cache: Path, blank: Prepared) -> Path:
    return cache / "prepared" / f"{card.name}-{blank.key}"


def _asked(card: Card, root: Path, variant: str) -> tuple[Found, list[Item], Prepared]:
    """What there is, what of it is wanted, and what would be prepared of that."""
    found = find(card, root)
    check_found(card, found, root, variant)
    items = _wanted(card, found.items)
    check_disjoint(card, ((item.split, path) for item in items for path in item.images))
    return found, items, _blank(card, root, found, items, synthetic=variant == "miniature")


def _wanted(card: Card, items: Sequence[Item]) -> list[Item]:
    """Of splits that a role names or that have labels; of those that a draw replaces, none."""
    names = {split for splits in card.roles.values() for split in splits}
    names |= {name for name, split in card.splits.items() if split.labelled}
    if _dealt(card, items) and card.draw is not None:
        names = names - card.draw.shares.keys() | {card.draw.of}
    return [item for item in items if item.split in names]


def _dealt(card: Card, items: Sequence[Item]) -> bool:
    """Whether the draw applies: copies that are split already have nothing to deal out."""
    return card.draw is not None and any(item.split == card.draw.of for item in items)


def _blank(
    card: Card, root: Path, found: Found, items: Sequence[Item], *, synthetic: bool
) -> Prepared:
    """``prepared.json`` without its counts; its key comes from the card's facts and the files."""
    told = {name: getattr(card, name) for name in ("classes", "roles", "policy", "aliases")}
    for name in ("tiles", "draw", "coding"):
        value = getattr(card, name)
        told[name] = None if value is None else asdict(value)
    facts = json.loads(json.dumps({"version": PREPARE_VERSION, **told}, default=dict))
    stamps = {path: _stamp(path) for item in items for path in item.files()}
    there = [
        (item.split, path, f"{item.key} {item.target} {stamps[path]}")
        for item in items
        for path in item.files()
        if stamps[path] is not None
    ]
    digest = hashlib.sha256(json.dumps([card.name, synthetic, facts], sort_keys=True).encode())
    digest.update(of_files(there, root).encode())
    for item in items:
        line = f"{item.split}\0{item.key}\0{item.target}\0{item.rows!r}\n"
        digest.update(line.encode(errors="surrogatepass"))
    return Prepared(
        dataset=card.name,
        synthetic=synthetic,
        key=digest.hexdigest()[:16],
        facts=facts,
        split_source=card.split_source,
        splits={},
        defects=dict(counted(found.defects, card)),
    )


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns if path.is_file() else None
    except OSError:
        return None


def _remove_old_drafts(card: Card, mine: Path) -> None:
    """Drafts of other keys, whose files have changed since: nobody will finish them."""
    for draft in mine.parent.glob(f".{card.name}-{'[0-9a-f]' * 16}.draft"):
        if draft != mine and holder(draft) is None:
            shutil.rmtree(draft, ignore_errors=True)


def _make(
    job: Job, items: Sequence[Item], blank: Prepared, workers: int, progress: Progress | None
) -> None:
    size = 1 if job.card.tiles else CHUNK
    make_folder(job.draft / "parts")
    made = [
        Part(job, tuple(items[i : i + size]), job.draft / "parts" / f"{i // size}.jsonl", i)
        for i in range(0, len(items), size)
    ]
    died = f"{job.card.name}: a process died, perhaps for want of memory: prepare again with fewer "
    died += "workers (what is done stays done)"
    read = in_order(survey, made, workers if len(items) >= FEW else 1, died)
    defects = _survey_all(made, read)
    todo = [part for part in made if not part.path.is_file()]
    done = len(items) - sum(len(part.items) for part in todo)
    results = in_order(make, todo, workers if len(todo) > 1 else 1, died)
    for part, _ in zip(todo, results, strict=True):
        done += len(part.items)
        if progress:
            progress(done, len(items))
    rows = [row for part in made for row in read_part(part)]
    splits = _split_up(job.card, items, rows)
    _check_splits(job.card, splits, job.found)
    for split, lines in splits.items():
        write_atomically(job.draft / f"{split}.jsonl", b"".join(row.line for row in lines))
    shutil.rmtree(job.draft / "parts")
    counts = {split: _counts(lines) for split, lines in splits.items()}
    told = Counter(blank.defects) + defects
    whole = blank.model_copy(update={"splits": counts, "defects": dict(sorted(told.items()))})
    write_atomically(job.draft / manifest.NAME, whole.model_dump_json(indent=1) + "\n")


def _survey_all(made: Sequence[Part], read: Iterable[Survey]) -> Counter[str]:
    """Read every annotation before the first tile is cut: what is wrong is told in seconds."""
    refused: list[str] = []
    defects, objects = Counter[str](), Counter[str]()
    needed = 0
    for part, told in zip(made, read, strict=True):
        refused += told.refused
        defects += told.defects
        objects.update(told.objects)  # keeps the zeros
        needed += 0 if part.path.is_file() else told.bytes
    if not made:
        return defects
    job = made[0].job
    if refused:
        last = f"mtp-bench data check {job.card.name} tells more of them"
        raise UserError(*some(refused), last)
    for split, count in objects.items():
        if not count:
            raise UserError(f"{job.card.name}: no picture of {split} has any object: {job.found}")
    free = shutil.disk_usage(job.draft).free
    if needed > free:
        raise UserError(
            f"{job.card.name}: needs about {needed / GIB:.1f} GiB in {job.draft.parent}, "
            f"{free / GIB:.1f} GiB are free: free space, or name another cache (MTP_BENCH_CACHE)"
        )
    return defects


def _split_up(card: Card, items: Sequence[Item], rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Samples by split, in the order of the release; the card's draw deals out what is usable."""
    draw, splits = card.draw, dict[str, list[Row]]()
    if draw is None or draw.tiles or not _dealt(card, items):
        for row in rows:
            splits.setdefault(items[row.item].split, []).append(row)
        if draw is not None and draw.of in splits and draw.tiles:
            whole = splits.pop(draw.of)
            dealt = deal(draw, len(whole)).items()
            splits |= {part: [whole[i] for i in indices] for part, indices in dealt}
        return splits
    of_item: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        of_item.setdefault((items[row.item].split, items[row.item].key), []).append(row)
    used = [item for item in items if (item.split, item.key) in of_item]
    return {
        part: [row for item in members for row in of_item[item.split, item.key]]
        for part, members in parts(card, used).items()
    }


def _check_splits(card: Card, splits: dict[str, list[Row]], folder: Path) -> None:
    """What a job trains on, and what has labels to report on, must be there."""
    for role, names in card.roles.items():
        for name in names:
            facts = card.splits.get(name)
            needed = role == "train" or facts is None or facts.labelled
            if needed and not splits.get(name):
                raise UserError(f"{card.name}: the {name} split has no picture: {folder}")


def _counts(rows: Sequence[Row]) -> SplitCounts:
    objects = [row.objects for row in rows if row.objects is not None]
    return SplitCounts(
        samples=len(rows),
        scenes=len({row.item for row in rows}),
        objects=sum(objects) if objects else None,
    )
