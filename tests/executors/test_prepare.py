"""What a run does with data before its first job: makes it ready once, or tells all its defects."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mtp_bench.cli import app, main
from mtp_bench.datasets.access import card_of, miniature_root
from mtp_bench.datasets.loading import load, source_of
from mtp_bench.datasets.prepare import prepared_folder
from mtp_bench.errors import UserError
from mtp_bench.executors.prepare import check_data, prepare_data
from mtp_bench.store.lock import acquire
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import Plan, make_plan
from mtp_bench.suite.schema import Roots

PROTOCOL = """\
name: short
rules:
  - set:
      image_size: 32
      length: {iterations: 1}
      batch_size: 1
      lr: 1e-3
      layer_decay: null
      drop_path: 0.0
      augmentation: none
      validate_every: {iterations: 1}
      test: {image_size: 32}
"""
SUITE = """\
name: short
protocol: short.protocol.yaml
data: subset
seeds: 2
backbones:
  timm/resnet18: [scratch]
datasets: [DIOR, DIOR-R, DOTA-v1.0]
"""
SITE = "{partition: main, cpus: 1, memory: 1G, time: 20}\n"
NAMES = ["DIOR", "DIOR-R", "DOTA-v1.0"]
QUAD = (1, 2, 30, 2, 30, 40, 1, 40)
CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")
ROTATED = "".join(
    f"<{axis}_{corner}>{QUAD[2 * i + j]}</{axis}_{corner}>"
    for i, corner in enumerate(CORNERS)
    for j, axis in enumerate("xy")
)
BOXES = {
    "Horizontal": "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>",
    "Oriented": f"<difficult>0</difficult><robndbox>{ROTATED}</robndbox>",
}
Told = list[tuple[str, int, int]]


def picture(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (90, 120, 60)).save(path)


def dior(root: Path) -> None:
    """One picture a split, in both sets of annotations."""
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test"), 1):
        name = f"{number:05}"
        (lists / f"{split}.txt").write_text(f"{name}\n")
        folder = "JPEGImages-test" if split == "test" else "JPEGImages-trainval"
        picture(root / folder / f"{name}.jpg", 800)
        for kind, box in BOXES.items():
            label = root / "Annotations" / f"{kind} Bounding Boxes" / f"{name}.xml"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(
                "<annotation><size><width>800</width><height>800</height></size>"
                f"<object><name>ship</name>{box}</object></annotation>"
            )


def dota(root: Path) -> None:
    """Two scenes a split; those of test have no labels."""
    for split in ("train", "val", "test"):
        for number in range(2):
            name = f"P{split}{number}"
            picture(root / split / "images" / f"{name}.png", 600)
            if split != "test":
                label = root / split / "labelTxt" / f"{name}.txt"
                label.parent.mkdir(exist_ok=True)
                label.write_text(f"{' '.join(map(str, QUAD))} ship 0\n")


class Place:
    """A suite and its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        dior(self.data / "DIOR")
        dota(self.data / "DOTA-v1.0")
        (folder / "short.protocol.yaml").write_text(PROTOCOL)
        self.suite = folder / "short.yaml"
        self.suite.write_text(SUITE)
        self.cache = folder / "cache"
        self.roots = Roots(
            runs=str(folder / "runs"),
            results=str(folder / "results"),
            data=str(self.data),
            weights=None,
            cache=str(self.cache),
        )
        self.told: Told = []

    def plan(self) -> Plan:
        return make_plan(load_suite(self.suite))

    def change(self, old: str, new: str) -> None:
        text = self.suite.read_text()
        assert old in text
        self.suite.write_text(text.replace(old, new))

    def say(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))

    def prepare(self) -> list[str]:
        return prepare_data(self.plan(), self.roots, self.say, workers=1)

    def refused(self, act: Callable[[], object]) -> list[str]:
        with pytest.raises(UserError) as told:
            act()
        return list(told.value.lines)

    def check(self) -> list[str]:
        """What the submitting to a cluster refuses."""
        return self.refused(lambda: check_data(self.plan(), self.roots, self.say, "COMMAND"))

    def stamps(self) -> dict[Path, int]:
        prepared = self.cache / "prepared"
        return {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}

    def spoil(self, scene: str, row: str) -> None:
        with (self.data / "DOTA-v1.0" / "train" / "labelTxt" / f"{scene}.txt").open("a") as file:
            file.write(f"{row}\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def go_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder and its cache are those of what is called next."""
    monkeypatch.chdir(place.suite.parent)
    monkeypatch.setenv("MTP_BENCH_CACHE", str(place.cache))
    for name in ("DATA", "WEIGHTS", "RUNS", "RESULTS"):
        monkeypatch.delenv(f"MTP_BENCH_{name}", raising=False)


def call(place: Place, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    go_to(place, monkeypatch)
    return CliRunner().invoke(app, ["run", "short.yaml", *words])


def main_of(place: Place, monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """Exit code of a run that is refused."""
    go_to(place, monkeypatch)
    arguments = ["mtp-bench", "run", "short.yaml", "--data", "data", *words]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_each_dataset_is_prepared_once_for_all_its_jobs(place: Place) -> None:
    assert place.prepare() == NAMES
    folders = sorted(path.name.rpartition("-")[0] for path in (place.cache / "prepared").iterdir())
    assert folders == NAMES
    assert [what for what, *_ in place.told if what.startswith("reading")] == [
        f"reading {name}" for name in NAMES
    ]
    assert ("preparing DOTA-v1.0", 6, 6) in place.told
    for spec in (job.spec for job in place.plan().jobs):
        assert load(source_of(spec, place.roots)).prepared.dataset == spec.dataset


def test_a_second_run_makes_nothing_again(place: Place) -> None:
    place.prepare()
    before = place.stamps()
    place.told.clear()
    assert place.prepare() == NAMES
    assert place.stamps() == before
    assert place.told == [(f"reading {name}", 0, 0) for name in NAMES]


def test_another_tiling_is_other_data(place: Place) -> None:
    place.change("  timm/resnet18", "  timm/resnet34: [scratch]\n  timm/resnet18")
    with place.suite.open("a") as stream:
        where = "{dataset: DOTA-v1.0, backbone: timm/resnet34}"
        stream.write(f"overrides: [{{where: {where}, set: {{tiling: {{size: 512}}}}}}]\n")
    assert place.prepare() == NAMES
    assert len(list((place.cache / "prepared").glob("DOTA-v1.0-*"))) == 2


def test_what_is_wrong_is_told_of_all_datasets_and_the_rest_is_made(place: Place) -> None:
    for scene in ("Ptrain0", "Ptrain1"):
        place.spoil(scene, "1 2 30 2 30 40 1 40 spaceship 0")
    (place.data / "DIOR" / "Annotations" / "Oriented Bounding Boxes" / "00002.xml").write_text("<")
    lines = place.refused(place.prepare)
    for defect in ("Oriented Bounding Boxes/00002.xml:1", "Ptrain0.txt:2", "Ptrain1.txt:2"):
        assert sum(defect in line for line in lines) == 1
    (whole,) = (place.cache / "prepared").glob("*/prepared.json")
    assert whole.parent.name.rpartition("-")[0] == "DIOR"


def test_a_defect_stops_a_run_before_any_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.spoil("Ptrain1", "1 2 30 2 30 40 1 40 spaceship 0")
    for words in ((), ("--prepare",)):
        result = call(place, monkeypatch, "--data", "data", *words)
        assert isinstance(result.exception, UserError)  # exit 2
        assert "Ptrain1.txt" in str(result.exception)
        assert not (place.suite.parent / "runs").exists()


def test_prepare_makes_data_ready_and_runs_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--data", "data", "--prepare")
    result = call(place, monkeypatch, *words, "--only", "dataset=DIOR")
    assert (result.exit_code, result.stdout) == (0, "DIOR: ready\n"), result.output
    assert "preparing DIOR: 3 / 3" in result.stderr
    result = call(place, monkeypatch, *words, "--workers", "1")
    assert result.stdout == "DIOR: ready\nDIOR-R: ready\nDOTA-v1.0: ready\n"
    assert "preparing DIOR:" not in result.stderr
    assert not (place.suite.parent / "runs").exists()
    assert not (place.suite.parent / "results").exists()
    for vain in (["--executor", "slurm"], ["--dry-run"], ["--micro-batch", "1"]):
        result = call(place, monkeypatch, *words, *vain)
        assert "--prepare runs nothing" in str(result.exception)


def test_prepare_lists_data_that_is_not_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(place.data / "DIOR")
    result = call(place, monkeypatch, "--data", "data", "--prepare")
    assert result.exit_code == 1
    assert result.stderr.count("missing data: ") == 2
    assert not place.cache.exists()


def test_a_cluster_is_given_no_job_whose_data_is_not_prepared(place: Place) -> None:
    lines = place.check()
    assert [line.partition(":")[0] for line in lines[:-1]] == NAMES
    assert all("not prepared" in line for line in lines[:-1])
    assert "COMMAND" in lines[-1]
    assert not (place.cache / "prepared").exists()
    place.prepare()
    check_data(place.plan(), place.roots, place.say, "COMMAND")
    place.spoil("Ptrain1", "1 2 30 2 30 40 1 40 ship 0")  # changed since
    assert [line.partition(":")[0] for line in place.check()[:-1]] == ["DOTA-v1.0"]


def test_a_cluster_names_the_command_with_data_and_selection(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.suite.parent / "site.yaml").write_text(SITE)
    words = ("--only", "dataset=DIOR", "--only", "seed=0")
    slurm = ("--executor", "slurm", "--site", "site.yaml")
    assert main_of(place, monkeypatch, *words, *slurm) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("DIOR: not prepared")
    command = f"mtp-bench run short.yaml --prepare --data {place.data} {' '.join(words)}"
    assert last == f"nothing is submitted before the data is ready: {command}"


def test_classification_is_ready_as_it_lies(place: Place, tiny_data: Path) -> None:
    place.change("[DIOR, DIOR-R, DOTA-v1.0]", "[EuroSAT]")
    roots = place.roots.model_copy(update={"data": str(tiny_data)})
    check_data(place.plan(), roots, place.say, "COMMAND")
    assert prepare_data(place.plan(), roots, place.say) == ["EuroSAT"]
    assert not place.cache.exists()


def test_a_miniature_is_made_ready_also_for_a_cluster(place: Place) -> None:
    place.change("[DIOR, DIOR-R, DOTA-v1.0]", "[DIOR]")
    place.change("data: subset", "data: miniature")
    shutil.copytree(place.data / "DIOR", miniature_root("DIOR", place.cache))  # as if rendered
    check_data(place.plan(), place.roots, place.say, "COMMAND")
    (whole,) = (place.cache / "prepared").glob("*/prepared.json")
    assert whole.parent.name.rpartition("-")[0] == "DIOR"


def test_what_another_process_prepares_is_waited_for(place: Place) -> None:
    place.change("[DIOR, DIOR-R, DOTA-v1.0]", "[DIOR]")
    card = card_of("DIOR")
    folder = prepared_folder(card, place.data / "DIOR", place.cache, variant="subset")
    other = acquire(folder.with_name(f".{folder.name}.draft"))
    assert other is not None
    with ExitStack() as held:
        held.enter_context(other)

        def say(what: str, done: int, total: int) -> None:
            place.say(what, done, total)
            if what.startswith("waiting"):
                assert not folder.exists()
                held.close()  # the other one ends without having made it

        assert prepare_data(place.plan(), place.roots, say, workers=1) == ["DIOR"]
    assert [what for what, *_ in place.told if "waiting for process" in what] != []
    assert (folder / "prepared.json").is_file()
