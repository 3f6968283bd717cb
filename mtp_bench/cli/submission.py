"""``submission``, ``score``: what a server takes of a job, and what it said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtp_bench.cli import options
from mtp_bench.cli.jobs import JobName, find_job
from mtp_bench.cli.options import RESULTS, RUNS
from mtp_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from mtp_bench.datasets.cards.card import Card
    from mtp_bench.store.paths import JobPaths
    from mtp_bench.store.records import Record


def submission(
    job: JobName,
    output: Annotated[
        Path | None, typer.Option(help="zip (default: runs/<job>/predictions/submission.zip)")
    ] = None,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Write a job's predictions on test as the dataset's server takes them, and check the zip."""
    from mtp_bench.datasets import submission as form
    from mtp_bench.store.files import write_atomically

    paths, record, card = _of(job, runs, results)
    if card.server is None:
        raise UserError(f"{paths.job}: {card.name} is judged here: no server takes predictions")
    scenes = form.gather(paths, card)
    wanted = record.provenance.data_counts.get("server", len(scenes))
    if len(scenes) != wanted:
        raise UserError(
            f"{paths.job}: {len(scenes):,} of {wanted:,} test images are predicted in "
            f"{paths.predictions}: forget the job, and run it again"
        )
    data, told = form.make(card, scenes)
    place = output or paths.submission
    write_atomically(place, data)
    counts = [card.splits[split].images for split in card.roles["test"]]
    published = f" ({sum(filter(None, counts)):,} published)"
    boxes = "" if card.task == "segmentation" else f", {told.boxes:,} boxes"
    print(f"{place}: {told.files:,} files, {told.scenes:,} scenes{published}{boxes}")
    print(
        f"upload it to the {card.server}; then: mtp-bench score {paths.job} --metric "
        f"{card.primary.name} --value … --source …"
    )


def score(
    job: JobName,
    metric: Annotated[str, typer.Option(help="as the dataset's card names it")],
    value: Annotated[float, typer.Option(help="in the card's unit: 80.5, not 0.805")],
    source: Annotated[str, typer.Option(help="who said it, and when: 'DOTA server, 2026-11-24'")],
    replace: Annotated[bool, typer.Option(help="another value than was noted before")] = False,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Note the figure that a server gave for a job's predictions."""
    from datetime import UTC, datetime

    from mtp_bench.store import scores

    paths, record, card = _of(job, runs, results)
    if record.awaiting is None:
        raise UserError(f"{paths.job}: awaits no score: {record.primary} was computed here")
    if metric != record.primary:
        hint = nearest(metric, [record.primary])
        raise UserError(f"--metric {metric}: the {record.awaiting} gives no such figure: {hint}")
    if not 0 <= value <= 100:
        raise UserError(f"--value {value:g}: must be from 0 to 100")
    if not source.strip():
        raise UserError("--source: say who gave the score, and when")
    before = None if replace else scores.read_score(paths.record, record)
    if before is not None and before.value != value:
        said = f"{before.value:g} is noted ({before.source})"
        raise UserError(f"{paths.job}: {said}: --replace notes {value:g} instead")
    noted = scores.Score(
        job=paths.job,
        metric=metric,
        value=value,
        unit=card.primary.unit,
        source=source,
        noted=datetime.now(UTC).date().isoformat(),
        record_sha256=scores.digest(paths.record),
    )
    scores.write_score(paths.record, noted)
    print(f"{paths.job}: {metric} {value:g} {noted.unit}, {source}: {paths.score}")


def _of(job: str, runs: Path, results: Path) -> tuple[JobPaths, Record, Card]:
    """A finished job: its paths, its record and its dataset's card."""
    from mtp_bench.datasets.access import card_of
    from mtp_bench.store.records import read_record

    paths = find_job(job, runs, results)
    if not paths.record.exists():
        raise UserError(f"{paths.job}: is not finished: it has no record in {paths.records}")
    record = read_record(paths.record)
    return paths, record, card_of(record.spec.dataset)
