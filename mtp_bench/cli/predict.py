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
    from mtp_bench.datasets.pixels import Picture
    from mtp_bench.mm.predict import Trained

OUTPUT = Path("predictions")
LIKELIEST = 5
SIDE = 4096
"""Pixels to which larger pictures are reduced for drawing; boxes are always told in their own."""

Asked = tuple[Path, ...]
"""A picture, or the two dates of a pair."""


def predict(
    job: JobName,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE", help="pictures of any size; of change BEFORE AFTER …"),
    ] = None,
    output: Annotated[Path, typer.Option(help="folder for pictures and label maps")] = OUTPUT,
    score: Annotated[float, typer.Option(help="boxes that are less sure are left out")] = 0.3,
    as_json: options.Json = False,
    data: options.Data = None,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Predict classes, boxes or label maps: drawn, and beside the truth where it is known."""
    if not images:
        raise UserError("predict: name one image or more after the job")
    if not 0 <= score <= 1:
        raise UserError(f"--score {score:g}: must be from 0 to 1")
    with redirect_stdout(sys.stderr):  # the libraries print
        trained, asked = _trained(job, images, data, runs, results)
        rows = [*_rows(trained, asked, output, score)]
    if as_json:
        print(json.dumps({"job": trained.job, "images": rows}, indent=1))
        return
    for row in rows:
        named, made = (
            " ".join(row[key] for key in keys if key in row)
            for keys in (("image", "after"), ("picture", "labels"))
        )
        print_table([[f"{named}: {made}" if made else named]])
        found = [_cells(*each.values()) for each in row.get("boxes") or row.get("classes", ())]
        print_table(found or [["nothing found"]], indent="  ")


def _cells(name: str, score: float, box: Sequence[float] = ()) -> list[str]:
    return [name, f"{score:.3f}", *(f"{number:.1f}" for number in box)]


def _trained(
    name: str, images: Sequence[Path], data: Path | None, runs: Path, results: Path
) -> tuple[Trained, list[Asked]]:
    """The job's model, once all that is quick to see is right, and what to predict."""
    from mtp_bench.worker import read_job

    paths = find_job(name, runs, results)
    if not paths.job_file.exists():
        raise UserError(f"{paths.job}: has no run folder {paths.run}: its checkpoint was there")
    job = read_job(paths.job_file)
    if job.spec.kind == "pretrain":
        raise UserError(f"{paths.job}: makes a backbone: predict with a job that is tuned from it")
    asked = _asked(images, 2 if job.spec.task == "change_detection" else 1)
    if data is not None:
        roots = job.roots.model_copy(update={"data": str(data.absolute())})
        job = job.model_copy(update={"roots": roots})
    with redirect_stdout(io.StringIO()):  # as they do while they are imported
        from mtp_bench.mm.predict import load
    return load(job, paths), asked


def _asked(images: Sequence[Path], dates: int) -> list[Asked]:
    """The pictures, or pairs of one size, each once. ``UserError`` for what cannot be predicted."""
    from mtp_bench.datasets.pixels import look

    if len(images) % dates:
        raise UserError(
            f"predict: wants BEFORE AFTER, in pairs: {len(images)} images are an odd number"
        )
    seen = {image: look(image) for image in images}
    defects = [(image, defect) for image, (_, found) in seen.items() for defect in found]
    wrong = [f"{i}: {defect.what}" for i, defect in defects if defect.kind != "alpha"]
    asked = list(dict.fromkeys(zip(*(images[i::dates] for i in range(dates)), strict=True)))
    if not wrong and dates == 2:
        pairs = [tuple((path, seen[path][0]) for path in pair) for pair in asked]
        wrong = [line for before, after in pairs for line in _unlike(before, after)]
    if wrong:
        raise UserError(*wrong)
    return asked


def _unlike(
    before: tuple[Path, Picture | None], after: tuple[Path, Picture | None]
) -> Iterator[str]:
    (one, first), (other, second) = before, after
    assert first is not None
    assert second is not None
    if first.size != second.size:
        (wide, high), (w, h) = first.size, second.size
        yield f"{other}: {w}x{h} px, and {one} before it {wide}x{high}: a pair has one size"


def _rows(
    trained: Trained, asked: Sequence[Asked], output: Path, least: float
) -> Iterator[dict[str, Any]]:
    """What ``--json`` tells of each image; pictures are drawn on the way."""
    from mtp_bench.mm.predict import classify

    images = [images[0] for images in asked]
    if trained.task.scope == "mmseg":
        yield from _maps(trained, asked, output)
    elif trained.context.spec.task != "classification":
        yield from _boxes(trained, images, output, least)
    else:
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
    taken = {image.resolve() for image in images}
    for image in images:
        size, found = detect(trained, image)
        found = found.take(found.scores >= least)
        picture = reduced(image, SIDE)
        scale = picture.width / size[0]
        place = _place(output, image.stem, "predicted", ".jpg", taken)
        save(drawn(picture, classes, found, truths.get(image), scale=scale), place)
        columns = (found.labels.tolist(), found.scores.tolist(), found.boxes.round(2).tolist())
        boxes = [
            {"class": classes[label], "score": round(score, 5), "box": box}
            for label, score, box in zip(*columns, strict=True)
        ]
        yield {"image": str(image), "size": size, "picture": str(place), "boxes": boxes}


def _maps(trained: Trained, asked: Sequence[Asked], output: Path) -> Iterator[dict[str, Any]]:
    """Label maps, as files and laid over their pictures, and the share of each class."""
    import numpy as np

    from mtp_bench.datasets.draw import reduced
    from mtp_bench.mm.predict import label_map
    from mtp_bench.store.files import make_folder
    from mtp_bench.tasks import map_pictures
    from mtp_bench.tasks.pictures import save

    make_folder(output)
    context, card = trained.context, trained.context.card
    truths = map_pictures.truths_of(context.spec, context.roots, asked)
    taken = {image.resolve() for images in asked for image in images}
    for images in asked:
        found, stem = label_map(trained, images), images[0].stem
        suffix = map_pictures.suffix_for(images[0])
        labels = _place(output, stem, "labels", suffix, taken)
        picture = _place(output, stem, "predicted", ".jpg", taken)
        map_pictures.write_labels(found, card, labels, images[0])
        pictures = [reduced(image, SIDE // len(images)) for image in images]
        save(map_pictures.drawn(pictures, card, found, truths.get(images)), picture)
        # Row by row: numpy counts in 64-bit copies of what it is given.
        counts = np.sum([np.bincount(row, minlength=len(card.classes)) for row in found], axis=0)
        shares = zip(card.classes, (counts / found.size).tolist(), strict=True)
        yield {
            **dict(zip(("image", "after"), map(str, images), strict=False)),
            "size": (found.shape[1], found.shape[0]),
            "picture": str(picture),
            "labels": str(labels),
            "classes": [{"class": name, "share": round(share, 5)} for name, share in shares],
        }


def _place(output: Path, stem: str, kind: str, suffix: str, taken: set[Path]) -> Path:
    """Where a file goes: never over an image, nor over another of these."""
    place, number = output / f"{stem}.{kind}{suffix}", 1
    while place.resolve() in taken:
        number += 1
        place = output / f"{stem}.{kind}-{number}{suffix}"
    taken.add(place.resolve())
    return place
