"""The sketch on which a scene is laid out, in steps that a table lists."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mtp_bench.datasets.scenes import geometry as geo
from mtp_bench.datasets.scenes.geometry import RGB, Array, Line, Places, Region

Range = tuple[float, float]
Step = tuple[Any, ...]  # a function that lays something on a sketch, and what it takes besides


class Stock(NamedTuple):
    """What things of a kind are like: length in metres, width and height as shares of it."""

    length: Range
    width: Range
    height: float
    colours: str


_HALLS = "fffffc f5f5f5 ebedf0 fffaf2 b3b3b5 7a7a7d f2ede0 946657 8594a8"
_CARS = "e0e0de bdbfc2 e0e0de 8c8f91 2e2e30 1a1a1c 4d4f54 732421 2e3d61 736b5c"
STOCK = {
    "airplane": Stock((28, 48), (0.87, 1.05), 0.12, "edede9 d9dbe0 bfc2c7"),
    "boat": Stock((8, 15), (0.28, 0.32), 0.2, "ebebeb ccccc7 dfe3e8"),
    "car": Stock((4.0, 5.0), (0.38, 0.44), 0.33, _CARS),
    "hall": Stock((28, 85), (0.5, 0.8), 0.2, _HALLS),
    "house": Stock((9, 17), (0.65, 1.0), 0.45, "b36145 c78061 8f5947 7a7573 c2ad94 ebe0d1 5c5757"),
    "ship": Stock((60, 200), (0.15, 0.22), 0.08, "bfbfba 804033 404754 73787f 4d6b61"),
    "storage_tank": Stock((14, 40), (1.0, 1.0), 0.4, "edede8 ccc9bd 9e9485"),
    "tennis_court": Stock((36.5, 36.5), (0.5, 0.5), 0.0, "295c47 335480 8c4d38 476b40"),
    "tree": Stock((5, 10), (1.0, 1.0), 0.9, "1f301a 29381f 333821"),
    "truck": Stock((8, 15), (0.2, 0.25), 0.3, _HALLS),
}


@dataclass
class Sketch:
    """A scene while it is laid out; `middle` and `heading` are where its own axes lie."""

    rng: np.random.Generator
    extent: float
    middle: complex
    heading: float
    plots: list[Line] = field(default_factory=list)
    areas: list[Region] = field(default_factory=list)
    roads: list[Region] = field(default_factory=list)
    things: list[geo.Thing] = field(default_factory=list)

    def area(self, covers: str, shape: Line, tint: RGB | None = None, rows: complex = 0) -> None:
        """Ground of one of the covers."""
        if len(shape):
            outline = tuple(shape.tolist())
            self.areas.append(Region(self.pick(covers), outline, tint or self.tint(), rows))

    def road(self, covers: str, line: Line, width: float, light: float = 1.0) -> None:
        outline, follows = tuple(geo.ribbon(line, width).tolist()), tuple(line.tolist())
        tint = (light, light, light)
        self.roads.append(Region(self.pick(covers), outline, tint, 0, follows, width))

    def put(
        self, kind: str, at: complex | Line, heading: float | Array,
        length: float | Array | None = None, colours: str = "",
    ) -> None:  # fmt: skip
        """Things on or near the picture, out of stock where nothing else is asked for."""
        stock, places, rng = STOCK[kind], np.atleast_1d(at), self.rng
        count, paint = len(places), geo.palette(colours or stock.colours)
        long = rng.uniform(*stock.length, count) if length is None else np.asarray(length)
        wide = long * rng.uniform(*stock.width, count)
        shades = paint[rng.integers(len(paint), size=count)] * rng.uniform(0.85, 1.15, (count, 1))
        near = abs(places - self.extent * (0.5 + 0.5j)) < 0.71 * self.extent + 2 * long
        columns = np.broadcast_arrays(places, long, wide, heading, long * stock.height)
        tints = [(r, g, b) for r, g, b in shades[near].tolist()]
        rows = zip(*(column[near].tolist() for column in columns), tints, strict=True)
        self.things += [geo.Thing(kind, *row) for row in rows]

    def clear(self, polygon: Line) -> None:
        """Takes things off a polygon that roads or water are to have."""
        gone = geo.inside(polygon, [t.at for t in self.things])
        self.things[:] = [t for t, off in zip(self.things, gone, strict=True) if not off]

    def spot(self, at: complex) -> complex:
        """A place given along (real) and across (imaginary) the scene's heading."""
        return self.middle + at * geo.unit(self.heading)

    def line(self, at: Places) -> Line:
        return np.asarray(self.middle + np.asarray(at) * geo.unit(self.heading))

    def grid(self, along: float, across: float, share: float) -> Line:
        """Spots in rows as far as the picture reaches: a share of them, and the middle."""
        n, m = int(self.extent / along) + 1, int(self.extent / across) + 1
        i, j = np.mgrid[-n : n + 1, -m : m + 1]
        kept = (self.rng.random(i.shape) < share) | ((i == 0) & (j == 0))
        return self.line((i * along + j * across * 1j)[kept])

    def anywhere(self, count: int) -> Line:
        return np.asarray(self.extent * (self.rng.random((count, 2)) @ np.array([1, 1j])))

    def between(self, bounds: Range) -> float:
        return float(self.rng.uniform(*bounds))

    def count(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, words: str) -> str:
        options = words.split()
        return options[int(self.rng.integers(len(options)))]

    def tint(self, spread: float = 0.12, hue: float = 0.03) -> RGB:
        """A multiplier near 1: brightness strays by `spread`, each channel by `hue`."""
        r, g, b = np.exp(self.rng.normal(0.0, spread) + self.rng.normal(0.0, hue, 3)).tolist()
        return (r, g, b)


def lay(s: Sketch, *steps: Step) -> None:
    for function, *rest in steps:
        function(s, *rest)


def sometimes(s: Sketch, share: float, *steps: Step) -> None:
    if s.chance(share):
        lay(s, *steps)


def one_of(s: Sketch, *rows: tuple[Step, ...]) -> None:
    lay(s, *rows[s.count(0, len(rows) - 1)])
