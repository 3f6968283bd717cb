"""`data check`: every defect of class folders with its place, leaks by pixels, the report."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mtp_bench.cli import app
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.check import Report, check
from mtp_bench.datasets.counts import MARKER
from mtp_bench.datasets.defects import KINDS
from mtp_bench.datasets.draw import choose
from mtp_bench.datasets.formats import class_folders
from mtp_bench.datasets.formats.class_folders import find
from mtp_bench.datasets.leaks import leaks, thumb
from mtp_bench.datasets.prepare import prepare_folder
from mtp_bench.datasets.samples import parts
from mtp_bench.datasets.scenes.miniature import picture
from mtp_bench.errors import UserError

FOREST = "2750/Forest/Forest_1.jpg"


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A data folder that a test may spoil, marked as one that was rendered."""
    shutil.copytree(tiny_data, tmp_path / "data")
    root = tmp_path / "data" / "EuroSAT"
    for path in root.glob("2750/*/*.jpg"):
        with Image.open(path) as image:
            image.resize((64, 64)).save(path, quality=95)
    (root / MARKER).write_text(json.dumps({"synthetic": True, "splits": {"all": 100}}))
    return tmp_path / "data"


def told(report: Report, level: str = "error") -> list[tuple[str, str]]:
    root = report.root
    return [
        (f.defect.kind, f.defect.place.relative_to(root).as_posix())
        for f in report.findings
        if f.level == level
    ]


def truncated(root: Path) -> None:
    path = root / FOREST
    path.write_bytes(path.read_bytes()[:-400])


def no_image(root: Path) -> None:
    (root / FOREST).write_text("not found")


def deep(root: Path) -> None:
    Image.fromarray(np.full((64, 64), 9_000, np.uint16)).save(root / FOREST, format="PNG")


def transparent(root: Path) -> None:
    Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(root / FOREST, format="PNG")


def large(root: Path) -> None:
    Image.new("RGB", (65, 64)).save(root / FOREST)
    (root / MARKER).unlink()  # miniatures may have any size


def strange_class(root: Path) -> None:
    (root / "2750" / "Forests").mkdir()


def other_variant(root: Path) -> None:
    for path in (root / "2750" / "Forest").iterdir():
        path.rename(path.with_suffix(".tif"))


def lost(root: Path) -> None:
    (root / FOREST).unlink()


def litter(root: Path) -> None:
    (root / "2750" / "Forest" / "._Forest_1.jpg").touch()
    (root / "Thumbs.db").touch()


def capital(root: Path) -> None:
    shutil.copy(root / FOREST, (root / FOREST).with_suffix(".JPG"))


def note(root: Path) -> None:
    (root / "2750" / "Forest" / "readme.txt").touch()


Spoil = Callable[[Path], None]
SPOILT: list[tuple[Spoil, str, list[tuple[str, str]]]] = [
    (truncated, "error", [("image-unreadable", FOREST)]),
    (no_image, "error", [("image-unreadable", FOREST)]),
    (deep, "error", [("sixteen-bit", FOREST)]),
    (large, "error", [("picture-size", FOREST)]),
    (strange_class, "error", [("unknown-class", "2750/Forests")]),
    (other_variant, "error", [("count", "2750"), ("layout", "2750/Forest")]),
    (lost, "error", [("count", "2750")]),
    (transparent, "warning", [("alpha", FOREST)]),
    (litter, "warning", [("stray", "2750/Forest/._Forest_1.jpg"), ("stray", "Thumbs.db")]),
    (note, "warning", [("unexpected", "2750/Forest/readme.txt")]),
    (capital, "warning", [("unexpected", FOREST)]),
]


@pytest.mark.parametrize(("spoil", "level", "expected"), SPOILT)
def test_a_defect_is_found_with_its_place(
    spoil: Spoil, level: str, expected: list[tuple[str, str]], data: Path
) -> None:
    root = data / "EuroSAT"
    spoil(root)
    report = check("EuroSAT", root, subset=not (root / MARKER).exists())
    assert told(report, level) == expected
    other = "warning" if level == "error" else "error"
    assert told(report, other) == []


def test_all_defects_are_found_in_one_pass_by_any_number_of_workers(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtp_bench.datasets.check.FEW", 0)
    root = data / "EuroSAT"
    for spoil in (truncated, strange_class, litter, note):
        spoil(root)
    heard: list[tuple[int, int]] = []
    both = check("EuroSAT", root, workers=2, progress=lambda n, of: heard.append((n, of)))
    assert both.findings == check("EuroSAT", root).findings
    assert [told(both), told(both, "warning")] == [
        [("image-unreadable", FOREST), ("unknown-class", "2750/Forests")],
        [
            ("stray", "2750/Forest/._Forest_1.jpg"),
            ("stray", "Thumbs.db"),
            ("unexpected", "2750/Forest/readme.txt"),
        ],
    ]
    assert heard[-1] == (100, 100)


def test_a_process_that_dies_is_told_in_one_line(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("mtp_bench.datasets.check.FEW", 1)
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor.map", died)
    with pytest.raises(UserError, match="EuroSAT: a process died"):
        check("EuroSAT", data / "EuroSAT", workers=2)


def test_a_folder_that_may_not_be_read_is_one_finding(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "2750/River")

    monkeypatch.setattr(class_folders, "pictures", refused)
    assert told(check("EuroSAT", data / "EuroSAT")) == [("layout", ".")]
    with pytest.raises(UserError, match="2750/River: cannot be read"):
        prepare_folder(card_of("EuroSAT"), data / "EuroSAT", data)


@pytest.mark.parametrize("text", ["[1]", "{", '{"splits": [1]}', ""])
def test_a_damaged_marker_is_told_and_the_folder_still_rendered(text: str, data: Path) -> None:
    (data / "EuroSAT" / MARKER).write_text(text)
    report = check("EuroSAT", data / "EuroSAT")
    assert (report.synthetic, told(report)) == (True, [("layout", "2750")])


def test_a_name_without_an_own_line_or_encoding_can_be_printed(data: Path) -> None:
    path = data / "EuroSAT" / FOREST
    path.rename(path.with_name(os.fsdecode(b"a\n\xff")))
    code, text = run("check", "EuroSAT", "--data", str(data))
    assert code == 1
    assert "a\\n\\udcff" in text


def test_a_folder_without_the_dataset_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    report = check("EuroSAT", tmp_path)
    assert told(report) == [("layout", ".")]
    assert "expected class folders as" in report.findings[0].defect.what


def test_the_release_must_have_its_counts(data: Path) -> None:
    (data / "EuroSAT" / MARKER).unlink()
    report = check("EuroSAT", data / "EuroSAT")
    (finding,) = (f for f in report.findings if f.defect.kind == "count")
    assert finding.defect.what == (
        "100 images where the release has 27,000 (10 of 10 classes differ)"
    )
    assert not report.synthetic


def copy_as(kind: str, source: Path, target: Path) -> None:
    with Image.open(source) as image:
        shown = image.resize((96, 96)) if kind == "scaled" else image.copy()
    shown.save(target, format="PNG" if kind == "PNG" else "JPEG", quality=70)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "scaled"])
def test_a_picture_in_two_splits_is_found_by_its_pixels(kind: str, data: Path) -> None:
    root = data / "EuroSAT"
    card = card_of("EuroSAT")
    splits = parts(card, find(root, card).items)
    source, target = splits["train"][5].images[0], splits["test"][7].images[0]
    Image.fromarray(picture("EuroSAT", "Residential", 1)).save(source, quality=95)
    copy_as(kind, source, target)
    report = check("EuroSAT", root)
    leaked = [f.defect for f in report.findings if f.defect.kind == "leak"]
    assert [(d.place, source.name in d.what) for d in leaked] == [(target, True)]
    assert not any(f.defect.kind == "leak" for f in check("EuroSAT", root, pixels=False).findings)


def noise(mean: float, spread: float, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    picture = np.clip(rng.normal(mean, spread, (64, 64, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def test_calm_water_and_empty_pictures_are_no_leak(tmp_path: Path) -> None:
    there: dict[str, list[Path]] = {"train": [], "test": []}
    for seed in range(40):
        path = tmp_path / f"{seed}.png"
        path.write_bytes(noise(60, 4, seed))
        there["train" if seed % 2 else "test"].append(path)
    for split in there:
        path = tmp_path / f"{split}_black.png"
        Image.new("RGB", (64, 64)).save(path)
        there[split].append(path)
    thumbs = {
        split: [(p, small) for p in paths if (small := thumb(p)) is not None]
        for split, paths in there.items()
    }
    assert [len(side) for side in thumbs.values()] == [20, 20]
    assert leaks(thumbs) == []


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", *arguments])
    return result.exit_code, result.stdout


def test_the_command_prints_a_table_and_json_and_exits_by_what_is_new(data: Path) -> None:
    assert run("check", "--data", str(data), "--workers", "1")[0] == 0
    truncated(data / "EuroSAT")
    litter(data / "EuroSAT")
    code, text = run("check", "EuroSAT", "--data", str(data), "--workers", "1")
    assert code == 1
    lines = text.splitlines()
    assert lines[0].endswith("EuroSAT SYNTHETIC miniature: images: all 100")
    assert lines[1].split()[:4] == ["error", "image-unreadable", "refuse", FOREST]
    assert lines[-1].strip().startswith("1 errors, 2 warnings, 0 known in the release")
    code, text = run("check", "--data", str(data), "--json", "--quick", "--workers", "1")
    (found,) = json.loads(text)["datasets"]
    assert code == 0
    assert {f["file"] for f in found["findings"]} == {"2750/Forest/._Forest_1.jpg", "Thumbs.db"}


def test_a_contact_sheet_shows_the_chosen_pictures(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    code, text = run("draw", "EuroSAT", "0", "50", "--data", str(data), "--output", str(path))
    assert (code, text.strip()) == (0, str(path))
    with Image.open(path) as image:
        page = np.asarray(image)
        cell = page[:320, 320:640].reshape(-1, 3)
    with Image.open(find(data / "EuroSAT", card_of("EuroSAT")).items[50].images[0]) as image:
        shown = np.asarray(image).reshape(-1, 3)
    assert np.abs(cell.mean(axis=0) - shown.mean(axis=0)).max() < 2
    items = find(data / "EuroSAT", card_of("EuroSAT")).items
    with pytest.raises(UserError, match="EuroSAT: no picture 100: there are 0 to 99"):
        choose(items, card_of("EuroSAT"), [100], 12)


def test_every_kind_of_defect_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert [f"| `{kind}` | {meaning} |" in text for kind, meaning in KINDS.items()] == [
        True for _ in KINDS
    ]
