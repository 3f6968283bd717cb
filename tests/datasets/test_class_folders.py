"""Class folders as downloaded: layouts, splits, counts, and the ways they can be wrong."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mtp_bench import catalog
from mtp_bench.datasets.access import (
    card_of,
    locate,
    miniature_root,
    read,
    read_data,
    render_missing,
)
from mtp_bench.datasets.fingerprint import fingerprint
from mtp_bench.datasets.pixels import rgb
from mtp_bench.datasets.samples import Item, fraction, parts
from mtp_bench.datasets.scenes.miniature import MINIATURES, Miniature
from mtp_bench.errors import UserError

CARD = card_of("EuroSAT")


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(tiny_data / "EuroSAT", tmp_path / "EuroSAT")
    return tmp_path / "EuroSAT"


@pytest.mark.parametrize(
    ("name", "train", "test"), [("EuroSAT", 16_200, 5_400), ("RESISC45", 6_300, 25_200)]
)
def test_release_splits_have_the_published_sizes(name: str, train: int, test: int) -> None:
    card = card_of(name)
    items = [
        Item("all", f"{c}/{i}", (Path(f"{c}_{i}.jpg"),), target=label)
        for label, c in enumerate(card.classes)
        for i in range(card.class_counts[c])
    ]
    splits = parts(card, items)
    assert {part: len(found) for part, found in splits.items()} == {"train": train, "test": test}
    assert not {i.key for i in splits["train"]} & {i.key for i in splits["test"]}
    per_class = Counter(item.target for item in splits["train"])
    assert card.draw is not None
    assert all(
        per_class[i] == card.class_counts[c] * card.draw.shares["train"]
        for i, c in enumerate(card.classes)
    )


def test_cards_hold_the_facts_of_the_release() -> None:
    eurosat, resisc = card_of("EuroSAT"), card_of("RESISC45")
    assert sum(eurosat.class_counts.values()) == 27_000
    assert sum(resisc.class_counts.values()) == 31_500
    assert len(resisc.classes) == 45
    for card in (eurosat, resisc):
        assert set(MINIATURES[card.name].classes) <= set(card.classes)
        assert list(card.classes) == sorted(card.classes)
        assert card.task == catalog.find("dataset", card.name).facts["task"]


def test_a_split_is_the_same_wherever_the_files_lie(root: Path, tiny_data: Path) -> None:
    here, there = read(CARD, root, "subset"), read(CARD, tiny_data / "EuroSAT", "subset")
    names = [[s.path.name for s in data.splits["train"]] for data in (here, there)]
    assert names[0] == names[1]
    assert fingerprint(here) == fingerprint(there)


def test_another_class_does_not_move_a_split(root: Path) -> None:
    before = read(CARD, root, "subset").splits["test"]
    shutil.rmtree(root / "2750" / "River")
    after = read(CARD, root, "subset").splits["test"]
    assert [s for s in before if "River" not in s.path.name] == list(after)


@pytest.mark.parametrize("layout", ["EuroSAT_RGB", "EuroSAT/2750", "."])
def test_other_packagings_are_found(layout: str, root: Path) -> None:
    for folder in list((root / "2750").iterdir()):
        target = root / layout / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    (root / "2750").rmdir()
    assert len(read(CARD, root, "subset").splits["train"]) == 60


def test_litter_is_passed_over(root: Path) -> None:
    (root / "2750" / ".DS_Store").touch()
    (root / "2750" / "__MACOSX").mkdir()
    (root / "2750" / "Forest" / "._Forest_1.jpg").touch()
    assert read(CARD, root, "subset").counts() == {"train": 60, "test": 20}


def spoil_count(root: Path) -> None:
    (root / "2750" / "Forest" / "Forest_1.jpg").unlink()


def spoil_class(root: Path) -> None:
    (root / "2750" / "Forests").mkdir()


def spoil_variant(root: Path) -> None:
    for path in (root / "2750" / "Forest").iterdir():
        path.rename(path.with_suffix(".tif"))


def spoil_layout(root: Path) -> None:
    (root / "2750").rename(root / "pictures")


def spoil_all(root: Path) -> None:
    for path in root.glob("2750/*/*.jpg"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "variant", "message"),
    [
        (spoil_class, "subset", "EuroSAT: ROOT/2750/Forests: not a class: did you mean 'Forest'?"),
        (
            spoil_variant,
            "subset",
            "EuroSAT: ROOT/2750/Forest: holds .tif, no .jpg: "
            "this is another variant of the dataset",
        ),
        (
            spoil_layout,
            "subset",
            "EuroSAT: ROOT: expected class folders as ROOT/2750/AnnualCrop/… (found: pictures); "
            "unpack https://zenodo.org/records/7711810 (EuroSAT_RGB.zip) there",
        ),
        (spoil_all, "subset", "EuroSAT: the train split has no image: too few under ROOT/2750"),
        (
            spoil_count,
            "release",
            "EuroSAT: ROOT/2750: 99 images where the release has 27,000 "
            "(10 of 10 classes differ); complete it, or say 'data: subset' in the suite",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    spoil: object, variant: str, message: str, root: Path
) -> None:
    assert callable(spoil)
    spoil(root)
    with pytest.raises(UserError) as caught:
        read(CARD, root, variant)
    assert caught.value.lines == (message.replace("ROOT", str(root)),)


def test_few_wrong_counts_are_told_class_by_class(root: Path) -> None:
    card = dataclasses.replace(CARD, class_counts=dict.fromkeys(CARD.classes, 10))
    assert read(card, root, "release").counts() == {"train": 60, "test": 20}
    spoil_count(root)
    with pytest.raises(UserError, match=r"2750/Forest: 9 images where the release has 10; "):
        read(card, root, "release")


def test_a_missing_dataset_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"EuroSAT: no folder .*EuroSAT: unpack EuroSAT_RGB\.zip"):
        locate("EuroSAT", "release", tmp_path, tmp_path)
    with pytest.raises(UserError, match="no data folder named: give --data DIR"):
        read_data("EuroSAT", "release", None, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut"])
def test_a_broken_image_is_told_by_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "Forest_1.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"Forest_1.jpg: cannot be read as an image"):
        rgb(path)


def test_a_fingerprint_sees_names_labels_sizes_and_bytes(root: Path) -> None:
    seen = {fingerprint(read(CARD, root, "subset"))}
    victim = read(CARD, root, "subset").splits["train"][0].path
    content = bytearray(victim.read_bytes())
    content[-3] ^= 1
    victim.write_bytes(bytes(content))
    seen.add(fingerprint(read(CARD, root, "subset")))
    victim.write_bytes(bytes(content) + b"x")
    seen.add(fingerprint(read(CARD, root, "subset")))
    victim.rename(victim.with_name("Other_99.jpg"))
    seen.add(fingerprint(read(CARD, root, "subset")))
    assert len(seen) == 4


def test_a_fraction_keeps_every_class(root: Path) -> None:
    train = read(CARD, root, "subset").splits["train"]
    assert fraction(train, 1.0, 0) == train
    half = fraction(train, 0.5, 0)
    assert set(Counter(s.label for s in half).values()) == {3}
    assert set(Counter(s.label for s in fraction(train, 0.01, 0)).values()) == {1}
    assert set(half) <= set(train)
    assert fraction(train, 0.5, 0) == half != fraction(train, 0.5, 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miniature of two pictures."""
    monkeypatch.setitem(MINIATURES, "EuroSAT", Miniature(("Forest",), 2))


@pytest.mark.usefixtures("small")
def test_an_interrupted_rendering_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_missing("EuroSAT", tmp_path, stop)
    assert not list(tmp_path.rglob("*.jpg"))
    assert render_missing("EuroSAT", tmp_path)
    assert not render_missing("EuroSAT", tmp_path)
    assert len(list(miniature_root("EuroSAT", tmp_path).rglob("*.jpg"))) == 2


@pytest.mark.usefixtures("small")
def test_two_that_render_at_once_both_end_well(tmp_path: Path) -> None:
    def other(done: int, total: int) -> None:
        if done == 1:
            render_missing("EuroSAT", tmp_path)

    assert render_missing("EuroSAT", tmp_path, other)
    (folder,) = (tmp_path / "miniatures").iterdir()
    assert len(list(folder.rglob("*.jpg"))) == 2


def test_a_miniature_is_not_taken_for_a_release(root: Path) -> None:
    (root / "miniature.json").write_text('{"synthetic": true, "splits": {"all": 100}}')
    for variant in ("release", "subset"):
        with pytest.raises(UserError, match="is a rendered miniature: say 'data: miniature'"):
            read(CARD, root, variant)
    assert read(CARD, root, "miniature").counts() == {"train": 60, "test": 20}
