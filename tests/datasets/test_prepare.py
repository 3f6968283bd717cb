"""What preparing leaves: the same whoever kills it and however many work, or a clear refusal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from mtp_bench.datasets import cutting, manifest
from mtp_bench.datasets.cards import dior, dota_v1, levir_cd, loveda, million_aid, whu_cd
from mtp_bench.datasets.cards.card import IGNORE, Card, Draw, Split, Tiles
from mtp_bench.datasets.formats.reader import Reader
from mtp_bench.datasets.prepare import prepare_folder
from mtp_bench.datasets.samples import Found, Item, Parsed
from mtp_bench.datasets.tiling import Window
from mtp_bench.errors import UserError
from mtp_bench.store.lock import acquire

TILES = Tiles(size=64, gap=16)
DOTA = replace(
    dota_v1.CARD,
    tiles=TILES,
    splits={"train": Split(), "test": Split(labelled=False)},
    roles={"train": ("train",), "test": ("test",)},
)
LEVIR = replace(levir_cd.CARD, tiles=Tiles(size=48, place="grid"), picture=None)
LINE = "{0} 10 {1} 10 {1} 40 {0} 40 plane 0\n"
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_prepare import DOTA, prepare_folder
prepare_folder(DOTA, Path(sys.argv[1]), Path(sys.argv[2]), variant="subset")
"""


def pixels(path: Path | None, flag: int = cv2.IMREAD_UNCHANGED) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), flag)
    assert image is not None
    return image.astype(np.uint8)


def picture(path: Path, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, size, interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def dota(tmp_path: Path) -> Path:
    """Five scenes with labels, one of them empty, and one without."""
    root = tmp_path / "DOTA"
    for number in range(5):
        picture(root / f"train/images/P{number}.png", (150, 100), number)
        label = root / f"train/labelTxt/P{number}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(
            "gsd:1\n" + "".join(LINE.format(x, x + 20) for x in range(0, 30 * number, 30))
        )
    picture(root / "test/images/P9.png", (70, 50), 9)
    return root


@pytest.fixture
def levir(tmp_path: Path) -> Path:
    root = tmp_path / "LEVIR"
    for split in ("train", "val", "test"):
        for number in range(3):
            for seed, name in enumerate("AB"):
                picture(root / split / name / f"{split}_{number}.png", (96, 96), 2 * number + seed)
            label = np.zeros((96, 96), np.uint8)
            label[10 * number : 50, 20:60] = 255
            (root / split / "label").mkdir(exist_ok=True)
            cv2.imwrite(str(root / split / "label" / f"{split}_{number}.png"), label)
    return root


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def made(card: Card, root: Path, cache: Path, workers: int = 1) -> Path:
    return prepare_folder(card, root, cache, variant="subset", workers=workers)


def test_tiles_hold_the_pixels_and_objects_of_their_windows(dota: Path, tmp_path: Path) -> None:
    folder = made(DOTA, dota, tmp_path / "cache")
    samples = manifest.read(folder, "train", dota)
    assert len(samples) == 5 * 3 * 2
    for sample in samples:
        scene = pixels(dota / f"train/images/{sample.scene}.png")
        assert sample.window is not None
        left, top, side, _ = sample.window
        tile = pixels(sample.images[0])
        assert sample.size == (side, side) == tile.shape[:2]
        assert (tile == scene[top : top + side, left : left + side]).all()
    (corner,) = (s for s in samples if s.scene == "P4" and s.window == Window(0, 0, 64))
    assert corner.objects is not None
    assert corner.objects.boxes[1].tolist() == [30, 10, 50, 10, 50, 40, 30, 40]
    assert corner.objects.lines.tolist() == [2, 3]
    told = manifest.prepared(folder)
    assert told is not None
    assert (told.dataset, told.splits["train"].scenes) == ("DOTA-v1.0", 5)
    assert told.splits["train"].objects == sum(len(s.objects or ()) for s in samples)


def test_a_scene_without_labels_is_padded_and_has_no_objects(dota: Path, tmp_path: Path) -> None:
    folder = made(DOTA, dota, tmp_path / "cache")
    sample = manifest.read(folder, "test", dota)[0]
    assert sample.objects is None
    tile = pixels(sample.images[0])
    assert (tile[50:] == TILES.fill[::-1]).all()
    assert (tile[:50] == pixels(dota / "test/images/P9.png")[:, :64]).all()


def test_a_second_call_does_nothing(dota: Path, tmp_path: Path) -> None:
    folder = made(DOTA, dota, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert made(DOTA, dota, tmp_path / "cache") == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_workers_write_what_one_writes(dota: Path, tmp_path: Path) -> None:
    one, two = (made(DOTA, dota, tmp_path / f"cache{n}", workers=n) for n in (1, 2))
    assert content(one) == content(two)
    assert one.name == two.name


def test_killed_in_the_middle_it_goes_on_where_it_was(dota: Path, tmp_path: Path) -> None:
    undisturbed = made(DOTA, dota, tmp_path / "calm")
    cache, code = tmp_path / "cache", KILLED.format(folder=str(Path(__file__).parent))
    environment = {**os.environ, "MTP_BENCH_KILL_AT": "file.renamed@3"}
    command = [sys.executable, "-c", code, str(dota), str(cache)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    (draft,) = (cache / "prepared").iterdir()
    finished = sorted((draft / "parts").iterdir())
    assert [path.name for path in finished] == ["0.jsonl", "1.jsonl", "2.jsonl"]
    tile = draft / "train/images/P0__64__0___0.png"
    written = tile.stat().st_mtime_ns
    folder = made(DOTA, dota, cache)
    assert (folder / "train/images" / tile.name).stat().st_mtime_ns == written
    assert content(folder) == content(undisturbed)


def test_only_one_process_prepares(dota: Path, tmp_path: Path) -> None:
    folder = made(DOTA, dota, tmp_path / "cache")
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(folder)
    taken = acquire(draft)
    assert taken is not None
    with taken, pytest.raises(UserError, match=f"process {os.getpid()} on "):
        made(DOTA, dota, tmp_path / "cache")
    assert made(DOTA, dota, tmp_path / "cache") == folder


def test_other_files_or_facts_give_another_key(dota: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    names = {made(DOTA, dota, cache).name}
    names.add(made(replace(DOTA, tiles=replace(TILES, gap=8)), dota, cache).name)
    names.add(made(replace(DOTA, policy={"zero-area": "keep"}), dota, cache).name)
    label = dota / "train/labelTxt/P1.txt"
    label.write_text(label.read_text().replace("plane 0", "plane 1"))
    names.add(made(DOTA, dota, cache).name)
    os.utime(dota / "train/images/P0.png", (1, 1))
    names.add(made(DOTA, dota, cache).name)
    (cache / "prepared" / f".DOTA-v1.0-{'0' * 16}.draft").mkdir()  # of files that are no more
    (dota / "train/images/P0.png").unlink()
    (dota / "train/labelTxt/P0.txt").unlink()
    names.add(made(DOTA, dota, cache).name)
    assert len(names) == 6
    assert {path.name for path in (cache / "prepared").iterdir()} == names


def test_where_the_release_lies_is_not_part_of_the_key(dota: Path, tmp_path: Path) -> None:
    folder = made(DOTA, dota, tmp_path / "cache")
    dota.rename(tmp_path / "moved")
    assert made(DOTA, tmp_path / "moved", tmp_path / "cache") == folder


def test_all_that_is_refused_is_told_before_anything_is_cut(dota: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        label = dota / f"train/labelTxt/P{number}.txt"
        label.write_text(label.read_text().replace("plane", "aeroplane") * 15)
    with pytest.raises(UserError) as told:
        made(DOTA, dota, tmp_path / "cache")
    lines = told.value.lines
    assert len(lines) == 22
    assert "P1.txt:2: unknown-class" in lines[0]
    assert lines[20] == "… and 25 more"
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_a_folder_in_place_of_a_picture_is_the_users_error(dota: Path, tmp_path: Path) -> None:
    image = dota / "train/images/P1.png"
    image.unlink()
    image.mkdir()
    with pytest.raises(UserError, match=r"P1\.png: image-unreadable"):
        made(DOTA, dota, tmp_path / "cache")


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    root = tmp_path / "Million-AID"
    picture(root / "test/P1.jpg", (64, 64), 1)
    picture(root / "train/water_area/beach/P2.jpg", (64, 64), 2)
    path = (root / "test/P1.jpg").rename(root / "test" / os.fsdecode(b"P\xff.jpg"))
    folder = made(million_aid.CARD, root, tmp_path / "cache")
    assert [sample.images for sample in manifest.read(folder, "test", root)] == [(path,)]


@pytest.mark.parametrize("kind", ["image-unreadable", "picture-size"])
def test_a_policy_leaves_pictures_out_and_counts_them(
    dota: Path, tmp_path: Path, kind: str
) -> None:
    path, card = dota / "train/images/P4.png", replace(DOTA, picture=(150, 100))
    (dota / "test/images/P9.png").unlink()
    if kind == "picture-size":
        picture(path, (150, 99), 4)
    else:
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=rf"P4\.png: {kind}"):
        made(replace(card, policy={kind: "refuse"}), dota, tmp_path / "cache")
    told = manifest.prepared(made(replace(card, policy={kind: "drop"}), dota, tmp_path / "cache"))
    assert told is not None
    assert told.splits["train"].scenes == 4
    assert told.defects == {f"{kind} dropped": 1}


@pytest.mark.parametrize("damage", ["cut off", "cut before its end", "hole", "flipped", "lacks"])
def test_a_picture_that_breaks_off_is_named(dota: Path, tmp_path: Path, damage: str) -> None:
    path = dota / "train/images/P4.png"
    data = path.read_bytes()
    half = len(data) // 2
    last = data.rindex(b"IDAT") - 4
    path.write_bytes(
        {
            "cut off": data[:half],
            "cut before its end": data[:-12],
            "hole": data[:half] + bytes(9000) + data[half + 9000 :],
            "flipped": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
            "lacks": data[:last] + data[-12:],
        }[damage]
    )
    with pytest.raises(UserError, match=r"P4\.png: cannot be made"):
        made(DOTA, dota, tmp_path / "cache")


def test_a_split_without_any_object_is_an_error(dota: Path, tmp_path: Path) -> None:
    for label in (dota / "train/labelTxt").iterdir():
        label.write_text("")
    with pytest.raises(UserError, match="no picture of train has any object"):
        made(DOTA, dota, tmp_path / "cache")


def test_the_disk_is_asked_first(
    dota: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, 1000))
    with pytest.raises(UserError, match=r"needs about 0\.0 GiB in .*, 0\.0 GiB are free"):
        made(DOTA, dota, tmp_path / "cache")
    # 32 windows of 64 x 64 x 3 bytes, at 0.7.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, 300_000))
    assert made(DOTA, dota, tmp_path / "cache").is_dir()


def test_pairs_give_two_tiles_and_a_mask(levir: Path, tmp_path: Path) -> None:
    folder = made(LEVIR, levir, tmp_path / "cache")
    for split in ("train", "val", "test"):
        samples = manifest.read(folder, split, levir)
        assert len(samples) == 3 * 4
        for sample in samples:
            assert sample.window is not None
            assert sample.mask is not None
            left, top, side, _ = sample.window
            part = np.s_[top : top + side, left : left + side]
            for name, path in zip("AB", sample.images, strict=True):
                scene = pixels(levir / split / name / f"{sample.scene}.png")
                assert (pixels(path) == scene[part]).all()
            label = pixels(levir / split / "label" / f"{sample.scene}.png", 0)
            mask = pixels(sample.mask)
            assert (mask == (label[part] == 255)).all()


def test_beyond_the_scene_a_mask_counts_nothing(levir: Path, tmp_path: Path) -> None:
    card = replace(LEVIR, tiles=Tiles(size=60, place="grid"))
    samples = manifest.read(made(card, levir, tmp_path / "cache"), "test", levir)
    masks = [pixels(sample.mask) for sample in samples[:4]]
    assert [int((mask == IGNORE).sum()) for mask in masks] == [0, 24 * 60, 24 * 60, 3600 - 36 * 36]


def found_twice(root: Path, card: Card) -> Found:
    path = root / "train/images/P1.png"
    return Found(root, (Item("train", "a", (path,)), Item("test", "b", (path,))))


TWICE = Reader(found_twice, lambda item, card: Parsed())


def test_a_picture_in_two_splits_is_an_error(dota: Path, tmp_path: Path) -> None:
    card = replace(DOTA, reader=f"{__name__}:TWICE")
    with pytest.raises(UserError, match=r"P1\.png stands in train and in test"):
        made(card, dota, tmp_path / "cache")


def test_a_draw_deals_out_pictures(dota: Path, tmp_path: Path) -> None:
    draw = Draw({"train": 0.6, "test": 0.4}, seed=1, of="train")
    folder = made(replace(DOTA, draw=draw), dota, tmp_path / "cache")
    scenes = {}
    for split in ("train", "test"):
        samples = manifest.read(folder, split, dota)
        scenes[split] = {sample.scene for sample in samples}
        assert all(sample.objects is not None for sample in samples)
    assert sorted(map(len, scenes.values())) == [2, 3]
    assert set.union(*scenes.values()) == {"P0", "P1", "P2", "P3", "P4"}


def test_a_draw_deals_out_tiles(tmp_path: Path) -> None:
    root = tmp_path / "WHU"
    for seed, name in enumerate(("before/before.tif", "after/after.tif")):
        picture(root / name, (100, 70), seed)
    label = root / "change label/change_label.tif"
    label.parent.mkdir()
    cv2.imwrite(str(label), np.full((70, 100), 255, np.uint8))
    card = replace(whu_cd.CARD, tiles=Tiles(size=10, place="grid"))
    folder = made(card, root, tmp_path / "cache")
    dealt = {split: manifest.read(folder, split, root) for split in ("train", "val", "test")}
    assert [len(samples) for samples in dealt.values()] == [49, 7, 14]
    windows = {sample.window for samples in dealt.values() for sample in samples}
    assert len(windows) == 70


def test_untiled_pictures_stay_where_they_lie(tmp_path: Path) -> None:
    root = tmp_path / "LoveDA"
    for number, name in enumerate(("Train/Rural", "Train/Urban", "Val/Rural")):
        picture(root / name / "images_png" / f"{number}.png", (40, 30), number)
        (root / name / "masks_png").mkdir()
        mask = np.full((30, 40), number, np.uint8)
        cv2.imwrite(str(root / name / "masks_png" / f"{number}.png"), mask)
    folder = made(replace(loveda.CARD, picture=None), root, tmp_path / "cache")
    samples = [s for split in ("train", "val") for s in manifest.read(folder, split, root)]
    assert [sample.images[0].is_relative_to(root) for sample in samples] == [True] * 3
    masks = [pixels(sample.mask) for sample in samples]
    assert [int(mask[0, 0]) for mask in masks] == [IGNORE, 0, 1]
    assert not list(folder.rglob("images/*.png"))


def test_detection_without_tiles_needs_a_manifest_only(tmp_path: Path) -> None:
    root = tmp_path / "DIOR"
    for number, split in enumerate(("train", "val", "test")):
        place = root / ("JPEGImages-test" if split == "test" else "JPEGImages-trainval")
        picture(place / f"0000{number}.jpg", (60, 60), number)
        path = root / "Annotations/Horizontal Bounding Boxes" / f"0000{number}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        box = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
        thing = f"<object><name>ship</name><bndbox>{box}</bndbox></object>"
        path.write_text(f"<annotation>{thing}</annotation>")
        lists = root / "ImageSets/Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text(f"0000{number}\n")
    folder = made(replace(dior.CARD, picture=None), root, tmp_path / "cache")
    (sample,) = manifest.read(folder, "val", root)
    assert sample.images == (root / "JPEGImages-trainval/00001.jpg",)
    assert sample.objects is not None
    assert sample.objects.boxes.tolist() == [[1, 2, 30, 40]]
    assert sorted(content(folder)) == ["prepared.json", "test.jsonl", "train.jsonl", "val.jsonl"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("kind", ["scene.png", "strips.tif", "blocks.tif"])
def test_a_wide_scene_is_never_held_whole(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, high, side = 16_000, 2_000, 256
    path = tmp_path / kind
    rows = (np.arange(high)[:, None] // 8 + np.arange(wide) // 64).astype(np.uint8)
    if "png" in kind:
        cv2.imwrite(str(path), cv2.merge([rows, rows + 1, rows + 2]), [cv2.IMWRITE_PNG_FILTER, 32])
    else:
        profile = {"driver": "GTiff", "width": wide, "height": high, "count": 3, "dtype": "uint8"}
        blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256} if "blocks" in kind else {}
        with rasterio.open(path, "w", compress="deflate", **profile, **blocks) as raster:
            for band, more in enumerate((2, 1, 0), 1):
                raster.write(rows + np.uint8(more), band)
    monkeypatch.setattr(cutting, "WHOLE", 1_000_000)
    windows = [Window(x, y, side) for y in (0, 200, 900, 1744) for x in (0, 9_000, 15_744)]
    windows += [Window(5, 0, 512, 0.5), Window(5, 1_900, 512, 0.5)]
    tracemalloc.start()
    seen = 0
    for window, tile in cutting.picture_tiles(path, windows, (1, 2, 3)):
        left, top, length, _ = window
        wanted = rows[top : top + length, left : left + length]
        assert (tile[: len(wanted), :, 2] == wanted).all()
        assert (tile[: len(wanted), :, 0] == wanted + np.uint8(2)).all()
        assert (tile[len(wanted) :] == (1, 2, 3)).all()
        seen += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == len(windows)
    assert peak < 2.2 * 512 * wide * 3 < high * wide * 3
