"""How fast data is checked, scenes are cut and samples are read.

    python benchmarks/data.py tiling [--scenes 8] [--repeats 3] [--processes 2]
    python benchmarks/data.py check [--files 20000] [--processes 2]
    python benchmarks/data.py manifest
    python benchmarks/data.py loader [--processes 2] [--step-ms 5]

``tiling`` cuts the same windows of the same synthetic scenes with as many processes: the plain loop
is cv2.imread, crop, pad, cv2.imwrite with default flags; ours is the whole of ``data prepare``:
reading annotations, cutting, manifests. ``loader`` reads prepared miniatures, one dataset a task,
without augmentation, once as fast as it goes and once for a consumer that needs some time a sample.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets import cutting, manifest
from mtp_bench.datasets.access import card_of, locate
from mtp_bench.datasets.cards.card import Card, Split, Tiles
from mtp_bench.datasets.cards.dota_v1 import CARD
from mtp_bench.datasets.check import check
from mtp_bench.datasets.pixels import rgb
from mtp_bench.datasets.prepare import prepare, prepare_folder
from mtp_bench.datasets.samples import objects
from mtp_bench.datasets.tiling import tile_name, windows

TILES = {"single scale": Tiles(1024, 200), "multi-scale": Tiles(1024, 500, (0.5, 1.0, 1.5))}
LINE = "{0} {1} {2} {1} {2} {3} {0} {3} plane 0\n"


def scene(wide: int, high: int, seed: int) -> npt.NDArray[np.uint8]:
    """Of photograph-like entropy: smooth shapes of all sizes, mostly gray, and sensor noise."""
    rng = np.random.default_rng(seed)
    total = np.full((high, wide, 3), 110, np.float32)
    for period, strength in ((256, 40), (64, 25), (16, 15), (4, 8), (2, 5)):
        noise = rng.standard_normal((high // period + 2, wide // period + 2, 3)).astype(np.float32)
        noise = 1.2 * noise.mean(axis=2, keepdims=True) + 0.3 * noise
        total += strength * cv2.resize(noise, (wide, high), interpolation=cv2.INTER_CUBIC)
    total += 2.5 * rng.standard_normal((high, wide, 1), dtype=np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def write_scenes(root: Path, count: int) -> list[Path]:
    """DOTA's layout: scenes of 4,000 to 8,000 pixels with 200 objects each."""
    rng, paths = np.random.default_rng(0), []
    for name in ("images", "labelTxt"):
        (root / "train" / name).mkdir(parents=True)
    for number in range(count):
        wide, high = (int(n) for n in rng.integers(4000, 8001, 2))
        paths.append(root / "train/images" / f"P{number:04}.png")
        cv2.imwrite(str(paths[-1]), scene(wide, high, number))
        corners = rng.integers(0, (wide - 99, high - 99), (200, 2))
        lines = [LINE.format(x, y, x + 60, y + 40) for x, y in corners]
        (root / "train/labelTxt" / f"P{number:04}.txt").write_text("".join(lines))
    return paths


def plain(path: Path, out: Path, tiles: Tiles) -> int:
    """The loop to beat, for one scene."""
    image = cv2.imread(str(path))
    assert image is not None
    high, wide = image.shape[:2]
    found = windows((wide, high), tiles)
    for window in found:
        left, top, side, _ = window
        tile = image[top : top + side, left : left + side]
        if tile.shape[:2] != (side, side):
            padded = np.full((side, side, 3), tiles.fill[::-1], np.uint8)
            padded[: tile.shape[0], : tile.shape[1]] = tile
            tile = padded
        cv2.imwrite(str(out / f"{tile_name(path.stem, window)}.png"), tile)
    return len(found)


def seconds(work: Callable[[Path], object]) -> tuple[float, float]:
    """How long work takes that writes to an empty folder, and the GB that it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        work(Path(folder))
        took = time.perf_counter() - start
        left = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        return took, left / 1e9


def tiling(count: int, repeats: int, processes: int) -> None:
    """Cut the same scenes both ways, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "release"
        paths = write_scenes(root, count)
        for name, tiles in TILES.items():
            one = {"train": Split()}
            card = replace(CARD, splits=one, roles={"train": ("train",)}, tiles=tiles)

            def ours(out: Path, card: Card = card) -> None:
                prepare_folder(card, root, out, variant="subset", workers=processes)

            def theirs(out: Path, tiles: Tiles = tiles) -> None:
                pool = ProcessPoolExecutor(processes, mp_context=get_context("forkserver"))
                with pool:
                    list(pool.map(plain, paths, [out] * count, [tiles] * count))

            took = [(seconds(theirs), seconds(ours)) for _ in range(repeats)]
            report(name, took)


def report(name: str, took: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    a, b = (statistics.median(pair[i][0] for pair in took) for i in (0, 1))
    ratios = ", ".join(f"{theirs[0] / ours[0]:.2f}" for theirs, ours in took)
    sizes = f"{took[0][0][1]:.2f} and {took[0][1][1]:.2f} GB"
    print(f"{name}: plain {a:.1f} s, ours {b:.1f} s, {a / b:.2f} x (each: {ratios}); {sizes}")


DIOR = (
    "<annotation>\n\t<filename>{0}.jpg</filename><source><database>DIOR</database></source>\n"
    "\t<size><width>800</width><height>800</height><depth>3</depth></size>"
    "<segmented>0</segmented>\n{1}</annotation>\n"
)
BOX = (
    "\t<object><name>ship</name><pose>Unspecified</pose>\n\t\t<bndbox><xmin>{}</xmin>"
    "<ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>\n"
)


def write_dior(root: Path, count: int) -> float:
    """DIOR's layout with 8 boxes an image of 800 px, as large as its JPEGs; megabytes of images."""
    rng, big, size = np.random.default_rng(0), scene(6000, 6000, 0), 0
    boxes, lists = root / "Annotations/Horizontal Bounding Boxes", root / "ImageSets/Main"
    for path in (boxes, lists, root / "JPEGImages-trainval", root / "JPEGImages-test"):
        path.mkdir(parents=True)
    ids = [f"{number:05}" for number in range(1, count + 1)]
    parts = {"train": ids[: count // 4], "val": ids[count // 4 : count // 2]}
    for name, part in {**parts, "test": ids[count // 2 :]}.items():
        (lists / f"{name}.txt").write_text("\r\n".join(part))
    for number, name in enumerate(ids):
        left, top = (int(n) for n in rng.integers(0, 5200, 2))
        crop = big[top : top + 800, left : left + 800]
        data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        place = "trainval" if number < count // 2 else "test"
        (root / f"JPEGImages-{place}" / f"{name}.jpg").write_bytes(data)
        size += len(data)
        rows = rng.integers((0, 0, 5, 5), (700, 700, 95, 95), (8, 4))
        text = "".join(BOX.format(x, y, x + w, y + h) for x, y, w, h in rows)
        (boxes / f"{name}.xml").write_text(DIOR.format(name, text))
    return size / 1e6


def checking(count: int, repeats: int, processes: int) -> None:
    """Check so many annotations with their images, decoding them and not."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "DIOR"
        size = write_dior(root, count)
        for pixels in (False, True):
            took = []
            for _ in range(repeats):
                start = time.perf_counter()
                check("DIOR", root, workers=processes, pixels=pixels, subset=True)
                took.append(time.perf_counter() - start)
            how = f"{size:,.0f} MB of images decoded and compared" if pixels else "headers only"
            each = ", ".join(f"{t:.1f}" for t in took)
            print(f"check: {count:,} files, {how}: {statistics.median(took):.1f} s (each: {each})")


LOADED = ("EuroSAT", "xView", "DOTA-v2.0", "LoveDA", "LEVIR-CD", "SOTA-RBB", "Million-AID")


class Read:
    """What a task needs of each sample, as arrays; the worth of an item is its bytes."""

    def __init__(self, samples: Sequence[manifest.Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> int:
        sample = self.samples[index]
        arrays = [rgb(path) for path in sample.images]
        arrays += [rgb(sample.mask)] if sample.mask else []
        return sum(array.nbytes for array in arrays)


def loading(processes: int, step: float) -> None:
    """Images a second of each task's samples, and the share of time that a consumer waits."""
    with tempfile.TemporaryDirectory() as folder:
        for name in LOADED:
            made = prepare(name, "miniature", None, Path(folder), workers=processes)
            samples = manifest.read(made, "train", locate(name, "miniature", None, Path(folder)))
            data = Read((samples * (1 + 400 // len(samples)))[:400])
            rate, _ = consumed(data, processes, 0.0)
            slow, waited = consumed(data, processes, step)
            task = card_of(name).task
            print(
                f"{task} ({name}): {rate:.0f} samples/s with {processes} workers; with a step of "
                f"{1e3 * step:g} ms a sample {slow:.0f}/s, waiting {waited:.0%} of the time"
            )


def consumed(data: Read, processes: int, step: float) -> tuple[float, float]:
    """Samples a second after the first batches, and the share of time spent waiting for them."""
    from torch.utils.data import DataLoader  # not in every process that cuts scenes

    batches = iter(DataLoader(data, batch_size=8, num_workers=processes))
    waited = took = 0.0
    seen = 0
    for number in range(len(data) // 8):
        start = time.perf_counter()
        batch = next(batches)
        wait = time.perf_counter() - start
        time.sleep(step * len(batch))
        if number >= 5:
            waited, took = waited + wait, took + time.perf_counter() - start
            seen += len(batch)
    return seen / took, waited / took


def reading(tiles: int = 70_000, each: int = 20) -> None:
    """Read a manifest of DOTA's size, and decode tiles as each side has written them."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        lines = []
        for number in range(1000):
            rows = [(row, int(row[0]) % 15, 0, i) for i, row in enumerate(corners(rng, each))]
            image = place / f"train/images/P{number}__1024__0___0.png"
            sample = manifest.Sample((image,), f"P{number}", (1024, 1024), objects=objects(rows))
            lines.append(manifest.line_of(sample, place, place))
        (place / "train.jsonl").write_bytes(b"".join(lines) * (tiles // 1000))
        start = time.perf_counter()
        read = manifest.read(place, "train", place)
        took, size = time.perf_counter() - start, (place / "train.jsonl").stat().st_size / 1e6
        print(f"manifest: {len(read):,} samples of {each} objects, {size:.0f} MB, in {took:.1f} s")
        whole = scene(4096, 4096, 1)
        shown = [whole[y : y + 1024, x : x + 1024] for y in range(0, 4096, 1024) for x in (0, 2048)]
        for number, pixels in enumerate(shown):
            cv2.imwrite(str(place / f"plain{number}.png"), pixels)
            cutting.save(place / f"ours{number}.png", np.ascontiguousarray(pixels[..., ::-1]))
        for name in ("plain", "ours", "plain", "ours"):
            start = time.perf_counter()
            for number in range(len(shown)):
                cv2.imread(str(place / f"{name}{number}.png"))
            rate = len(shown) / (time.perf_counter() - start)
            print(f"decoding {name}: {rate:.0f} tiles of 1024 px a second and process")


def corners(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Quads in tenths of a pixel, as tiles of rotated objects have them."""
    return [[float(x) for x in row] for row in rng.uniform(0, 1024, (count, 8)).round(1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("tiling", "check", "manifest", "loader"))
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.part == "tiling":
        tiling(asked.scenes, asked.repeats, asked.processes)
    elif asked.part == "check":
        checking(asked.files, asked.repeats, asked.processes)
    elif asked.part == "loader":
        loading(asked.processes, asked.step_ms / 1e3)
    else:
        reading()


if __name__ == "__main__":
    main()
