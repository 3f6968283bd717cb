"""Suites that are wrong, each with the exact lines that a user reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtp_bench.errors import UserError
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import make_plan

GOOD = """\
name: good
protocol: demo
data: miniature
backbones:
  timm/resnet18: [scratch, imp]
datasets: [EuroSAT]
"""

# name → (text, the lines after the path)
BAD: dict[str, tuple[str, list[str]]] = {
    "unknown key": (GOOD + "seed: 3\n", ["7:1: seed: unknown key: did you mean 'seeds'?"]),
    "unknown nested key": (
        GOOD + "overrides:\n  - where: {task: classification}\n    set: {imagesize: 3}\n",
        ["9:11: overrides.0.set.imagesize: unknown key: did you mean 'image_size'?"],
    ),
    "wrong type": (GOOD.replace("name: good", "name: 3"), ["1:7: name: must be a word, not 3"]),
    "number as word": (
        GOOD + "overrides:\n  - set: {lr: fast}\n",
        ['8:15: overrides.0.set.lr: must be a number, not "fast"'],
    ),
    "yes is a word": (
        GOOD + "weights:\n  timm/resnet18:\n    imp: {file: a.pth, allow_partial: yes}\n",
        ['9:39: weights.timm/resnet18.imp.allow_partial: must be true or false, not "yes"'],
    ),
    "no is a word": (
        GOOD + "weights:\n  timm/resnet18:\n    imp: {file: a.pth, allow_partial: no}\n",
        ['9:39: weights.timm/resnet18.imp.allow_partial: must be true or false, not "no"'],
    ),
    "base sixty": (
        GOOD + "seeds: 10:30\n",
        ['7:8: seeds: must be a count, or a list of numbers, not "10:30"'],
    ),
    "octal": (
        GOOD + "seeds: 012\n",
        ["7:8: seeds: '012' may be octal or decimal: write a plain number, or quote the word"],
    ),
    "date": (
        GOOD.replace("name: good", "name: [2026-11-25]"),
        ['1:7: name: must be a word, not ["2026-11-25"]'],
    ),
    "duplicate key": (
        GOOD + "protocol: paper\n",
        ["7:1: protocol: this key stands twice (first in line 2)"],
    ),
    "duplicate nested key": (
        GOOD.replace("[scratch, imp]", "[scratch, imp]\n  timm/resnet18: [imp]"),
        ["6:3: backbones.timm/resnet18: this key stands twice (first in line 5)"],
    ),
    "anchor": (GOOD + "seeds: &a 3\n", ["7:8: anchors are not read: write the value out"]),
    "alias": (GOOD + "seeds: *a\n", ["7:8: aliases are not read: write the value out"]),
    "tag": (
        GOOD + "title: !!python/name:os.system x\n",
        ["7:8: tags are not read: write the value out"],
    ),
    "not YAML": (
        GOOD + "overrides: [\n",
        ["8:1: not YAML: expected the node content, but found '<stream end>'"],
    ),
    "empty file": ("", ["1:1: the file is empty"]),
    "not a mapping": ("- a\n", ["1:1: must be a mapping of keys to values"]),
    "missing keys": (
        "name: x\n",
        [
            "1:1: protocol: the key 'protocol' is missing",
            "1:1: backbones: the key 'backbones' is missing",
        ],
    ),
    "unknown backbone": (
        GOOD.replace("timm/resnet18", "timm/resnet81"),
        [
            "5:3: backbones.timm/resnet81: unknown backbone 'timm/resnet81': did you mean 'timm/resnet18'?"
        ],
    ),
    "unknown plain backbone": (
        GOOD.replace("timm/resnet18", "vit_b_rvs"),
        ["5:3: backbones.vit_b_rvs: unknown backbone 'vit_b_rvs': did you mean 'vit_b_rvsa'?"],
    ),
    "unknown recipe": (
        GOOD.replace("imp]", "imb]"),
        ["5:28: backbones.timm/resnet18.1: unknown recipe stage 'imb': did you mean 'imp'?"],
    ),
    "unknown dataset": (
        GOOD.replace("[EuroSAT]", "[Eurosat]"),
        ["6:12: datasets.0: unknown dataset 'Eurosat': did you mean 'EuroSAT'?"],
    ),
    "pretraining set": (
        GOOD.replace("[EuroSAT]", "[SAMRS]"),
        ["6:12: datasets.0: 'SAMRS' is for pretraining: recipes use it, it is no benchmark"],
    ),
    "unknown task": (
        GOOD.replace("datasets: [EuroSAT]", "tasks: [clasification]"),
        [
            "6:9: tasks.0: must be 'classification', 'detection', 'rotated_detection', 'segmentation' or 'change_detection', not \"clasification\""
        ],
    ),
    "both datasets and tasks": (
        GOOD + "tasks: [classification]\n",
        ["1:1: give exactly one of 'datasets' and 'tasks'"],
    ),
    "unknown protocol": (
        GOOD.replace("protocol: demo", "protocol: papre"),
        [
            "2:11: protocol: unknown protocol 'papre': did you mean 'paper'? (or give the path of a .yaml file)"
        ],
    ),
    "protocol file absent": (
        GOOD.replace("protocol: demo", "protocol: mine.yaml"),
        ["2:11: protocol: no such protocol file: FOLDER/mine.yaml"],
    ),
    "unknown data variant": (
        GOOD.replace("miniature", "mini"),
        ["3:7: data: must be 'release', 'subset' or 'miniature', not \"mini\""],
    ),
    "empty grid": (GOOD.replace("[EuroSAT]", "[]"), ["6:11: datasets: must not be empty"]),
    "no recipes": (
        GOOD.replace("[scratch, imp]", "[]"),
        ["5:18: backbones.timm/resnet18: must not be empty"],
    ),
    "recipe twice": (
        GOOD.replace("imp]", "scratch]"),
        ["5:28: backbones.timm/resnet18.1: 'scratch' stands twice"],
    ),
    "dataset twice": (
        GOOD.replace("[EuroSAT]", "[EuroSAT, EuroSAT]"),
        ["6:21: datasets.1: 'EuroSAT' stands twice"],
    ),
    "seed twice": (GOOD + "seeds: [0, 0]\n", ["7:8: seeds: a seed stands twice"]),
    "no seeds": (GOOD + "seeds: 0\n", ["7:8: seeds: must be a count from 1 to 1000, not 0"]),
    "circle": (
        GOOD.replace("imp]", "a]") + "recipes:\n  a: {chain: b}\n  b: {chain: a}\n",
        [
            "8:6: recipes.a: the chain goes in a circle: a → b → a",
            "9:6: recipes.b: the chain goes in a circle: b → a → b",
            "5:28: backbones.timm/resnet18.1: the chain goes in a circle: a → b → a",
        ],
    ),
    "stage twice": (
        GOOD.replace("imp]", "imp+mtp+mtp]"),
        ["5:28: backbones.timm/resnet18.1: stage 'mtp' stands twice in 'imp+mtp+mtp'"],
    ),
    "first stage late": (
        GOOD.replace("imp]", "imp+mae]"),
        [
            "5:28: backbones.timm/resnet18.1: 'mae' gives first weights: it must be the first stage of 'imp+mae'"
        ],
    ),
    "late stage first": (
        GOOD.replace("imp]", "mtp]"),
        ["5:28: backbones.timm/resnet18.1: 'mtp' goes on from weights: write imp+mtp or mae+mtp"],
    ),
    "scratch in a chain": (
        GOOD.replace("imp]", "scratch+mtp]"),
        [
            "5:28: backbones.timm/resnet18.1: 'scratch' stands alone: 'scratch+mtp' goes on from nothing"
        ],
    ),
    "recipe name taken": (
        GOOD + "recipes:\n  imp: {weights: a.pth}\n",
        ["8:3: recipes.imp: this name is taken: choose another"],
    ),
    "recipe of nothing": (
        GOOD + "recipes:\n  mine: {}\n",
        ["8:9: recipes.mine: give exactly one of 'weights', 'chain' and 'stage'"],
    ),
    "baseline not run": (
        GOOD + "baseline: mae\n",
        ["7:11: baseline: 'mae' is not among the recipes of timm/resnet18"],
    ),
    "baseline of another backbone": (
        GOOD + "baseline: {timm/resnet50: imp}\n",
        [
            "7:12: baseline.timm/resnet50: not a backbone of this suite: did you mean 'timm/resnet18'?"
        ],
    ),
    "weights of another backbone": (
        GOOD + "weights:\n  timm/resnet50: {imp: a.pth}\n",
        ["8:3: weights.timm/resnet50: not a backbone of this suite: did you mean 'timm/resnet18'?"],
    ),
    "weights of an unused recipe": (
        GOOD + "weights:\n  timm/resnet18: {mae: a.pth}\n",
        [
            "8:19: weights.timm/resnet18.mae: no recipe of this backbone uses it: known: scratch, imp"
        ],
    ),
    "weights outside": (
        GOOD + "weights:\n  timm/resnet18: {imp: ../a.pth}\n",
        [
            "8:24: weights.timm/resnet18.imp: must be a path inside the weights folder (no leading '/', no '..')"
        ],
    ),
    "bad hash": (
        GOOD + "weights:\n  timm/resnet18:\n    imp: {file: a.pth, sha256: abc}\n",
        ['9:32: weights.timm/resnet18.imp.sha256: must have the form ^[0-9a-f]{64}$, not "abc"'],
    ),
    "mean without std": (
        GOOD + "weights:\n  timm/resnet18:\n    imp: {file: a.pth, mean: [1, 2, 3]}\n",
        ["9:10: weights.timm/resnet18.imp: give both 'mean' and 'std', or neither"],
    ),
    "override elsewhere": (
        GOOD + "overrides:\n  - where: {dataset: RESISC45}\n    set: {lr: 1e-4}\n",
        ["8:22: overrides.0.where.dataset: 'RESISC45' is not in this suite"],
    ),
    "override sets nothing": (
        GOOD + "overrides:\n  - set: {}\n",
        ["8:10: overrides.0.set: sets nothing"],
    ),
    "negative seeds": (
        GOOD + "seeds: -3\n",
        ["7:8: seeds: must be a count from 1 to 1000, not -3"],
    ),
    "too many seeds": (
        GOOD + "seeds: 3000000000\n",
        ["7:8: seeds: must be a count from 1 to 1000, not 3000000000"],
    ),
    "too large a seed": (
        GOOD + "seeds: [4294967296]\n",
        ["7:9: seeds.0: must be less than 2147483648, not 4294967296"],
    ),
    "endless digits": (
        GOOD + "seeds: " + "9" * 5000 + "\n",
        ["7:8: seeds: '999999999999999999…' is too large a number"],
    ),
    "infinity": (
        GOOD + "overrides:\n  - set: {lr: .inf}\n",
        ['8:15: overrides.0.set.lr: must be a number, not ".inf"'],
    ),
    "not a number": (
        GOOD + "overrides:\n  - set: {lr: .nan}\n",
        ['8:15: overrides.0.set.lr: must be a number, not ".nan"'],
    ),
    "too large a number": (
        GOOD + "overrides:\n  - set: {lr: 1e999}\n",
        ["8:15: overrides.0.set.lr: '1e999…' is too large a number"],
    ),
    "nested deeply": (
        GOOD + "title: " + "[" * 400 + "]" * 400 + "\n",
        ["7:28: title.0: is nested too deeply"],
    ),
    "nested endlessly": (
        GOOD + "title: " + "[" * 5000 + "]" * 5000 + "\n",
        ["1:1: is nested too deeply"],
    ),
    "half a character": (
        GOOD + 'title: "\\ud800"\n',
        ["7:8: title: holds half of a character (a surrogate)"],
    ),
    "null where a word is needed": (
        GOOD.replace("protocol: demo", "protocol:"),
        ["2:10: protocol: must be a word, not null"],
    ),
    "reserved name": (
        GOOD.replace("name: good", "name: records"),
        ["1:7: name: 'records' is a folder of results/: choose another name"],
    ),
    "weights of scratch": (
        GOOD + "weights:\n  timm/resnet18: {scratch: a.pth}\n",
        ["8:19: weights.timm/resnet18.scratch: 'scratch' takes no weights"],
    ),
    "unused recipe": (
        GOOD + "recipes:\n  mine: {weights: a.pth}\n",
        ["8:3: recipes.mine: no backbone uses this recipe"],
    ),
    "override of another task": (
        GOOD.replace("datasets: [EuroSAT]", "tasks: [classification]")
        + "overrides:\n  - where: {task: segmentation}\n    set: {lr: 1e-4}\n",
        ["8:19: overrides.0.where.task: 'segmentation' is not in this suite"],
    ),
    "impossible momentum": (
        GOOD + "overrides:\n  - set: {betas: [2, 0.9]}\n",
        ["8:19: overrides.0.set.betas.0: must be less than 1, not 2"],
    ),
    "no deviation": (
        GOOD + "overrides:\n  - set: {mean: [0, 0, 0], std: [0, 0, 0]}\n",
        ["8:3: overrides: EuroSAT, timm/resnet18: 'std' must be above 0"],
    ),
    "warm-up too long": (
        GOOD + "overrides:\n  - set: {warmup: {iterations: 61}}\n",
        [
            "8:3: overrides: EuroSAT, timm/resnet18: 'warmup' of 61 iterations is longer than 'length'"
        ],
    ),
    "crop beyond the picture": (
        GOOD + "overrides:\n  - set: {test: {image_size: 64, resize: 32}}\n",
        [
            "8:17: overrides.0.set.test: 'resize' must not be below 'image_size': the crop would be padded"
        ],
    ),
    "two lengths": (
        GOOD + "overrides:\n  - set: {length: {epochs: 1, iterations: 2}}\n",
        ["8:19: overrides.0.set.length: give exactly one of 'epochs' and 'iterations'"],
    ),
    "out of range": (
        GOOD + "overrides:\n  - set: {drop_path: 1.5, lr: 0}\n",
        [
            "8:22: overrides.0.set.drop_path: must be less than 1, not 1.5",
            "8:31: overrides.0.set.lr: must be greater than 0, not 0",
        ],
    ),
}


def test_the_good_suite_is_good(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD)
    assert len(make_plan(load_suite(path)).jobs) == 2


@pytest.mark.parametrize("name", BAD)
def test_a_bad_suite_is_told_in_exact_lines(name: str, tmp_path: Path) -> None:
    text, expected = BAD[name]
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(path))
    told = [line.replace(str(tmp_path), "FOLDER") for line in caught.value.lines]
    assert told == [f"FOLDER/suite.yaml:{line}" for line in expected]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        GOOD.replace("[EuroSAT]", "[EuroSta]").replace("imp]", "imb]") + "baseline: mae\n"
    )
    with pytest.raises(UserError) as caught:
        load_suite(path)
    assert len(caught.value.lines) == 3


def test_a_protocol_that_leaves_settings_open_says_which(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD.replace("protocol: demo", "protocol: paper"))
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(path))
    assert caught.value.lines == (
        f"{path}:5:3: backbones.timm/resnet18: protocol 'paper' leaves lr, layer_decay, drop_path open "
        "for this backbone on EuroSAT: state them under overrides",
    )
