"""Contact sheets: what a reader understood of a dataset, drawn over its pictures."""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco

from mtp_bench.datasets import geometry
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.pixels import WHOLE, opened, rgb
from mtp_bench.datasets.reading import Examined, examine
from mtp_bench.datasets.samples import Item
from mtp_bench.errors import UserError

CELL, CAPTION, COLUMNS, LEGEND = 320, 18, 4, 210
Mask = npt.NDArray[np.uint8]


def colour(label: int) -> tuple[int, int, int]:
    """A class's colour: neighbouring labels are far apart on the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def palette(card: Card) -> Mask:
    """(256, 3) colours of a label map: change is white on black, and what counts not is gray."""
    table = np.zeros((256, 3), dtype=np.uint8)
    if card.task == "change_detection":
        table[1], table[IGNORE] = 255, 90
    else:
        table[: len(card.classes)] = [colour(label) for label in range(len(card.classes))]
        table[IGNORE] = 40
    return table


def choose(items: Sequence[Item], card: Card, indices: Sequence[int], count: int) -> list[Item]:
    """The items of these indices, or some that are evenly spaced over all."""
    if not items:
        raise UserError(f"{card.name}: nothing to draw: no picture with a label")
    for index in indices:
        if not 0 <= index < len(items):
            raise UserError(f"{card.name}: no picture {index}: there are 0 to {len(items) - 1}")
    if indices:
        return [items[i] for i in indices]
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in places]


def sheet(items: Sequence[Item], card: Card) -> Image.Image:
    """Each item in a row of cells: its pictures, labels drawn, its name and counts beneath."""
    cells = [_cells(examine(item, card), card) for item in items]
    wide = max(map(len, cells))
    columns = min(max(1, COLUMNS // wide), len(cells)) * wide
    flat = [cell for row in cells for cell in (*row, *[_blank("")] * (wide - len(row)))]
    rows = -(-len(flat) // columns)
    page = Image.new("RGB", (columns * CELL, rows * (CELL + CAPTION)), "black")
    for number, cell in enumerate(flat):
        page.paste(cell, (number % columns * CELL, number // columns * (CELL + CAPTION)))
    return page if card.task in ("classification", "change_detection") else with_legend(page, card)


def with_legend(page: Image.Image, card: Card) -> Image.Image:
    """A page with the classes in their colours beneath it."""
    named = list(zip(card.classes, palette(card).tolist(), strict=False))
    columns = max(1, page.width // LEGEND)
    rows = -(-len(named) // columns)
    image = Image.new("RGB", (page.width, page.height + CAPTION * rows), "black")
    image.paste(page)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for number, (name, ink) in enumerate(named):
        left, top = number % columns * LEGEND + 4, page.height + number // columns * CAPTION + 3
        pen.rectangle((left, top, left + 10, top + 10), tuple(ink), "gray")
        pen.text((left + 15, top - 2), name, "white", font)
    return image


def _cells(seen: Examined, card: Card) -> list[Image.Image]:
    item, count = seen.item, len(seen.objects) if seen.objects is not None else None
    said = [f"{item.split}/{item.key}"]
    said += [card.classes[item.target]] if item.target is not None and card.classes else []
    said += [f"{count} objects"] if count is not None else []
    said += [f"{len(seen.defects)} defects"] if seen.defects else []
    pictures = []
    for path, header in zip(item.images, seen.pictures, strict=True):
        pictures.append(_blank(f"{path.name}: unreadable") if header is None else _small(path))
    if len(pictures) == 2:
        names = (f"{said[0]} before", "after", "label")
        last = _label_alone(seen, card, pictures[0].size)
        return [_cell(p, name) for p, name in zip((*pictures, last), names, strict=True)]
    shown = _overlaid(pictures[0], seen, card)
    return [_cell(shown, ", ".join(said))]


def reduced(path: Path, side: int) -> Image.Image:
    """A picture whose longer side is ``side`` at most; a huge one is read in small.

    ``OSError``, ``ValueError`` or ``UserError`` where it cannot be read.
    """
    with opened(path) as raster:
        wide, high = raster.width, raster.height
        if wide * high > WHOLE:
            scale = min(1, side / max(wide, high))
            if raster.dtypes[0] != "uint8":
                raise ValueError("not of 8 bits")
            shape = (3, max(1, round(high * scale)), max(1, round(wide * scale)))
            bands = [1, 2, 3] if raster.count >= 3 else [1, 1, 1]
            return Image.fromarray(raster.read(bands, out_shape=shape).transpose(1, 2, 0))
    image = Image.fromarray(rgb(path))
    return _scaled(image, side) if max(image.size) > side else image


def _scaled(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)


def _small(path: Path) -> Image.Image:
    """A picture that fits a cell."""
    try:
        return _scaled(reduced(path, CELL), CELL)
    except (OSError, ValueError, UserError):
        return _blank(f"{path.name}: unreadable")


def _blank(text: str) -> Image.Image:
    image = Image.new("RGB", (CELL, CELL + CAPTION if not text else CELL), "black")
    if text:
        ImageDraw.Draw(image).text((4, CELL // 2), text, "red", ImageFont.load_default(11))
    return image


def _cell(picture: Image.Image, caption: str) -> Image.Image:
    cell = Image.new("RGB", (CELL, CELL + CAPTION), "black")
    cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    ImageDraw.Draw(cell).text((3, CELL + 2), caption, "white", ImageFont.load_default(11))
    return cell


def painted(mask: Mask, size: tuple[int, int], card: Card) -> Image.Image:
    """A label map (height, width) in its classes' colours, at this width and height."""
    small = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return Image.fromarray(palette(card)[np.asarray(small)])


def laid_over(picture: Image.Image, mask: Mask, card: Card) -> Image.Image:
    return Image.blend(picture.convert("RGB"), painted(mask, picture.size, card), 0.45)


def _label_alone(seen: Examined, card: Card, size: tuple[int, int]) -> Image.Image:
    mask = seen.parsed.mask
    return _blank("no label") if mask is None else painted(mask, size, card)


def _overlaid(picture: Image.Image, seen: Examined, card: Card) -> Image.Image:
    header = seen.pictures[0]
    if header is None:
        return picture
    scale = picture.width / header.size[0]
    if seen.parsed.mask is not None:
        picture = laid_over(picture, seen.parsed.mask, card)
    pen = ImageDraw.Draw(picture)
    for instance in seen.parsed.instances:
        _outline(pen, instance.rle, scale)
    if seen.objects is not None:
        quads, labels = geometry.corners(seen.objects.boxes) * scale, seen.objects.labels
        named = len(quads) <= 12
        draw_boxes(picture, quads, labels, [card.classes[i] if named else "" for i in labels])
    return picture


def draw_boxes(
    picture: Image.Image, quads: geometry.Array, labels: npt.NDArray[Any], texts: Sequence[str]
) -> None:
    """Draw (n, 4, 2) outlines in pixels of the picture, in their classes' colours, with texts.

    So many texts, the first, as leave a crowd to be seen.
    """
    pen, side = ImageDraw.Draw(picture), max(picture.size)
    tall, thick = 8 + side // 300, max(1, round(side / 600))
    font = ImageFont.load_default(tall)
    low, high = quads.min(axis=1), quads.max(axis=1)
    near = ((high > 0) & (low < picture.size)).all(axis=1)
    places = np.clip(quads[:, 0], 0, np.array(picture.size) - tall)
    for number, i in enumerate(np.flatnonzero(near)):
        ink, corners = colour(int(labels[i])), [(float(x), float(y)) for x, y in quads[i]]
        pen.line([*corners, corners[0]], ink, thick)
        if number < side // 10:
            place = places[i, 0], places[i, 1]
            pen.text(place, texts[i], ink, font, stroke_width=1, stroke_fill="black")


def in_row(panels: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures of one size side by side, each with a text beneath it."""
    wide, high = panels[0][0].size
    page = Image.new("RGB", (len(panels) * wide, high + CAPTION), "black")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for number, (picture, text) in enumerate(panels):
        page.paste(picture, (number * wide, 0))
        pen.text((number * wide + 3, high + 2), text, "white", font)
    return page


def _outline(pen: ImageDraw.ImageDraw, rle: Any, scale: float) -> None:
    """The border of an instance's mask, as points."""
    mask = coco.decode(dict(rle)).astype(bool)
    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge = mask.copy()
    edge[1:-1, 1:-1] &= ~inner
    pen.point([(float(x * scale), float(y * scale)) for y, x in np.argwhere(edge)], "white")
