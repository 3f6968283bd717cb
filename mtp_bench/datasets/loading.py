"""Prepared data as a job reads it: the splits to train and be judged on, and their samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mtp_bench.datasets import manifest
from mtp_bench.datasets.access import Progress, card_of, fitted, locate, render_missing
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.fingerprint import of_manifests
from mtp_bench.datasets.manifest import Prepared, Sample
from mtp_bench.datasets.prepare import prepare_folder, prepared_folder
from mtp_bench.datasets.reading import examine, find
from mtp_bench.datasets.samples import DataFacts, Objects
from mtp_bench.errors import UserError
from mtp_bench.suite.schema import JobSpec, Roots


@dataclass(frozen=True)
class Roles:
    """Splits by what a job does with them."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    """Judged here."""
    server: tuple[str, ...] = ()
    """Predicted for whoever holds the labels."""

    @property
    def seen(self) -> bool:
        """Whether what is judged here is part of what is trained on."""
        return bool(set(self.test) & set(self.train))


@dataclass(frozen=True)
class Source:
    """What names prepared data; plain, so that a config can hold it."""

    name: str
    variant: str
    data: str | None
    cache: str
    tiling: dict[str, Any] | None = None
    train_on_val: bool = True

    def card(self) -> Card:
        """The card with scenes cut as the protocol says; rules for objects stay the card's."""
        card = card_of(self.name)
        if self.tiling is None:
            return card
        if card.tiles is None:
            raise UserError(f"{self.name}: its images are not cut: remove 'tiling'")
        settings = {**self.tiling, "scales": tuple(self.tiling["scales"])}
        return replace(card, tiles=replace(card.tiles, **settings))

    def prepare(self, *, workers: int = 1, progress: Progress | None = None) -> Path:
        """The prepared folder, made now if it is not there. See ``prepare.prepare_folder``."""
        cache = Path(self.cache)
        if self.variant == "miniature":
            render_missing(self.name, cache)
        return prepare_folder(
            self.card(),
            self.root(),
            cache,
            variant=self.variant,
            workers=workers,
            progress=progress,
        )

    def root(self) -> Path:
        """The dataset's own folder. ``UserError`` says what to put where."""
        data = Path(self.data) if self.data else None
        return locate(self.name, self.variant, data, Path(self.cache))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A prepared dataset and where it lies."""

    card: Card
    root: Path
    folder: Path
    prepared: Prepared
    roles: Roles

    def by_split(self, role: str) -> dict[str, list[Sample]]:
        """The samples of each split of a role, in the order of the release."""
        splits: tuple[str, ...] = getattr(self.roles, role)
        return {split: manifest.read(self.folder, split, self.root) for split in splits}

    def samples(self, role: str) -> list[tuple[str, Sample]]:
        """The same in one row, each with its split."""
        return [(split, s) for split, samples in self.by_split(role).items() for s in samples]


def roles(card: Card, train_on_val: bool) -> Roles:
    """As the card has them, where the labels of test are there.

    Where they are held back: trained on all that is labelled, with figures of training images, and
    test left to the server; or, not ``train_on_val``, judged here on validation.
    """
    train, test = card.roles["train"], card.roles.get("test", ())
    dealt = card.draw.shares if card.draw else {}
    known = {name for name, split in card.splits.items() if split.labelled} | dealt.keys()
    if known.issuperset(test):
        return Roles(train, test)
    if train_on_val:
        return Roles(train, ("val",), test)
    return Roles(tuple(name for name in train if name != "val"), ("val",))


def load(source: Source) -> Loaded:
    """The prepared data of a job. ``UserError`` where it is not prepared, and what to do."""
    card, root, cache = source.card(), source.root(), Path(source.cache)
    folder = prepared_folder(card, root, cache, variant=source.variant)
    found = manifest.prepared(folder)
    if found is None:
        raise UserError(
            f"{source.name}: not prepared, or changed since: 'mtp-bench run SUITE --prepare' makes "
            f"{folder}"
        )
    return Loaded(
        fitted(card, source.variant), root, folder, found, roles(card, source.train_on_val)
    )


def check_server(loaded: Loaded) -> None:
    """Refuse a job whose judge is a server, where there is no picture for it."""
    for split in loaded.roles.server:
        if split not in loaded.prepared.splits:
            raise UserError(
                f"{loaded.card.name}: the {split} split, which {loaded.card.server} judges, has no "
                "picture: put it there, or set 'train_on_val: false' to be judged here on val"
            )


def with_objects(samples: Iterable[Sample]) -> list[Sample]:
    """Samples that show any object that counts: published detectors are trained on these."""
    return [s for s in samples if s.objects is not None and (s.objects.difficult >= 0).any()]


def share_of(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """A seeded share of the samples, at least one, in their order."""
    if share >= 1:
        return list(samples)
    count = max(1, round(share * len(samples)))
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    return [samples[i] for i in sorted(chosen.tolist())]


def training(loaded: Loaded, share: float, seed: int) -> list[Sample]:
    """What a detector is trained on."""
    return share_of(with_objects(s for _, s in loaded.samples("train")), share, seed)


def facts(
    loaded: Loaded, train: Sequence[Sample], labels: Mapping[str, int] | None = None
) -> DataFacts:
    """What a record says of the data of a job."""
    here, splits = loaded.roles, loaded.prepared.splits
    source = loaded.prepared.split_source
    if not here.server and here.test != loaded.card.roles.get("test", ()):
        source = f"trained on {' + '.join(here.train)}, judged here on {' + '.join(here.test)}"
    counts = {"train": len(train), "test": sum(splits[name].scenes for name in here.test)}
    if here.server:
        counts["server"] = sum(splits[name].scenes for name in here.server)
    used = dict.fromkeys((*here.train, *here.test, *here.server))
    return DataFacts(
        counts=counts,
        split_source=source,
        defects=loaded.prepared.defects,
        fingerprint=of_manifests(loaded.folder, loaded.root, used),
        train_images=len(train),
        labels=labels or {},
    )


def scene_truths(loaded: Loaded, role: str) -> dict[tuple[str, str], tuple[Any, Objects]]:
    """(split, scene) → size and all objects of the whole scene, read from its annotation.

    Tiles hold only what lies in them by a good part: an object that no tile has so is still one
    that whole-scene figures count.
    """
    wanted = set(getattr(loaded.roles, role))
    found = {}
    for item in find(loaded.card, loaded.root).items:
        if item.split in wanted:
            seen = examine(item, loaded.card)
            if seen.objects is not None and seen.pictures[0] is not None:
                found[item.split, item.key] = (seen.pictures[0].size, seen.objects)
    return found


def source_of(spec: JobSpec, roots: Roots) -> Source:
    """The data of a job's spec under these roots."""
    protocol = spec.settings
    return Source(
        spec.dataset,
        spec.data,
        roots.data,
        roots.cache,
        protocol.tiling.model_dump(mode="json") if protocol.tiling else None,
        protocol.train_on_val,
    )


def judged_as(sample: Sample, whole: bool) -> str:
    """What a test sample is judged as part of: a picture of the release, or else each tile."""
    if sample.window is None or whole:
        return sample.scene
    return f"{sample.scene} {sample.window.left},{sample.window.top}"
