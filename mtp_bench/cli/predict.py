"""``predict``: what a trained job says of pictures of one's own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtp_bench.cli import options
from mtp_bench.cli.jobs import JobName, find_job
from mtp_bench.cli.options import RESULTS, RUNS
from mtp_bench.cli.tables import print_table
from mtp_bench.errors import UserError

if TYPE_CHECKING:
    from mtp_bench.mm.predict import Trained

OUTPUT = Path("predictions")
TASKS = ("classification", "detection", "rotated_detection")
LIKELIEST = 5
SIDE = 4096
"""Pixels to which larger pictures are reduced for drawing; boxes are always told in their own."""


def predict(
    job: JobName,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="pictures, of any size")
    ] = None,
    output: Annotated[Path, typer.Option(help="folder for pictures with boxes")] = OUTPUT,
    score: Annotated[float, typer.Option(help="boxes that are less sure are left out")] = 0.3,
    as_json: options.Json = False,
    data: options.Data = None,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Predict classes, or boxes: drawn, and beside the truth where an image is of the test data."""
    if not images:
        raise UserError("predict: name one image or more after the job")
    if not 0 <= score <= 1:
        raise UserError(f"--score {score:g}: must be from 0 to 1")
    with redirect_stdout(sys.stderr):  # the libraries print
        trained = _trained(job, images, data, runs, results)
        rows = [*_rows(trained, list(dict.fromkeys(images)), output, score)]
    if as_json:
        print(json.dumps({"job": trained.job, "images": rows}, indent=1))
        return
    for row in rows:
        print_table([[": ".join(row[key] for key in ("image", "picture") if key in row)]])
        found = [_cells(*each.values()) for each in row.get("boxes") or row.get("classes", ())]
        print_table(found or [["nothing found"]], indent="  ")


def _cells(name: str, score: float, box: Sequence[float] = ()) -> list[str]:
    return [name, f"{score:.3f}", *(f"{number:.1f}" for number in box)]


def _trained(
    name: str, images: Sequence[Path], data: Path | None, runs: Path, results: Path
) -> Trained:
    """The job's model, once all that is quick to see is right."""
    from mtp_bench.worker import read_job

    paths = find_job(name, runs, results)
    if not paths.job_file.exists():
        raise UserError(f"{paths.job}: has no run folder {paths.run}: its checkpoint was there")
    job = read_job(paths.job_file)
    if job.spec.task not in TASKS:
        raise UserError(f"{job.id}: predict is for {', '.join(TASKS)}, not for {job.spec.task}")
    _check(images)
    if data is not None:
        roots = job.roots.model_copy(update={"data": str(data.absolute())})
        job = job.model_copy(update={"roots": roots})
    with redirect_stdout(io.StringIO()):  # as they do while they are imported
        from mtp_bench.mm.predict import load
    return load(job, paths)


def _check(images: Sequence[Path]) -> None:
    from mtp_bench.datasets.pixels import look

    defects = [(image, defect) for image in images for defect in look(image)[1]]
    if wrong := [f"{i}: {defect.what}" for i, defect in defects if defect.kind != "alpha"]:
        raise UserError(*wrong)


def _rows(
    trained: Trained, images: Sequence[Path], output: Path, least: float
) -> Iterator[dict[str, Any]]:
    """What ``--json`` tells of each image; pictures are drawn on the way."""
    from mtp_bench.mm.predict import classify

    if trained.context.spec.task != "classification":
        yield from _boxes(trained, images, output, least)
        return
    for image in images:
        likely = classify(trained, image)[:LIKELIEST]
        shares = [{"class": name, "probability": round(share, 5)} for name, share in likely]
        yield {"image": str(image), "classes": shares}


def _boxes(
    trained: Trained, images: Sequence[Path], output: Path, least: float
) -> Iterator[dict[str, Any]]:
    from mtp_bench.datasets.draw import reduced
    from mtp_bench.mm.predict import detect
    from mtp_bench.store.files import make_folder
    from mtp_bench.tasks.pictures import drawn, save, truths_of

    make_folder(output)
    spec, classes = trained.context.spec, trained.context.card.classes
    truths = truths_of(spec, trained.context.roots, images)
    for image, place in zip(images, _places(images, output), strict=True):
        size, found = detect(trained, image)
        found = found.take(found.scores >= least)
        picture = reduced(image, SIDE)
        scale = picture.width / size[0]
        save(drawn(picture, classes, found, truths.get(image), scale=scale), place)
        columns = (found.labels.tolist(), found.scores.tolist(), found.boxes.round(2).tolist())
        boxes = [
            {"class": classes[label], "score": round(score, 5), "box": box}
            for label, score, box in zip(*columns, strict=True)
        ]
        yield {"image": str(image), "size": size, "picture": str(place), "boxes": boxes}


def _places(images: Sequence[Path], output: Path) -> list[Path]:
    """Where each picture goes: never over an image, nor over another of these."""
    taken = {image.resolve() for image in images}
    places = []
    for image in images:
        place, number = output / f"{image.stem}.predicted.jpg", 1
        while place.resolve() in taken:
            number += 1
            place = output / f"{image.stem}.predicted-{number}.jpg"
        taken.add(place.resolve())
        places.append(place)
    return places
