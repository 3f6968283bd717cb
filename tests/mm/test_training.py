"""What figures depend on in training: draws, schedule, parameter groups, safe checkpoints."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn
from torch.utils.data import Dataset

from mtp_bench.backbones import create
from mtp_bench.errors import UserError
from mtp_bench.mm import checkpoints, loader
from mtp_bench.mm.draws import DrawnDataset, DrawSampler, seeded
from mtp_bench.mm.optim import parameter_groups
from mtp_bench.mm.schedule import Schedule


class Parted(Dataset[Any]):
    """Three sets of three, four and two, one after the other."""

    metainfo: ClassVar[dict[str, Any]] = {}
    parts = (3, 4, 2)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index


class Noisy(Dataset[Any]):
    """Ten numbers, each with noise from all three global generators."""

    metainfo: ClassVar[dict[str, Any]] = {}

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.fixture
def drawn() -> DrawnDataset:
    if "Noisy" not in DATASETS:
        DATASETS.register_module(module=Noisy)
    return DrawnDataset({"type": "Noisy"}, seed=3)


def sampler(
    processes: int, rank: int, micro_batch: int, skipped: tuple[int, ...] = ()
) -> DrawSampler:
    made = DrawSampler(Noisy(), micro_batch, skipped)
    made._rank, made._processes = rank, processes
    return made


def test_an_epoch_visits_every_sample_once_and_each_in_another_order(drawn: DrawnDataset) -> None:
    epochs = [[drawn[10 * epoch + i][0] for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_draw_depends_on_its_number_alone(drawn: DrawnDataset) -> None:
    forwards = [drawn[d] for d in range(25)]
    torch.rand(7)
    random.random()
    backwards = [drawn[d] for d in reversed(range(25))]
    assert forwards == backwards[::-1]
    assert len({sample[1] for sample in forwards}) == 25


def test_drawing_leaves_the_global_generators_alone(drawn: DrawnDataset) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(()).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    _ = drawn[4]
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


def test_seeds_of_a_block_do_not_leak_when_it_fails() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1, 2):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("processes", "micro_batch"), [(1, 8), (2, 4), (4, 2), (2, 2), (1, 2)])
def test_a_step_takes_the_same_draws_however_it_is_split(processes: int, micro_batch: int) -> None:
    steps, batch = 5, 8
    accumulation = batch // (processes * micro_batch)
    taken: list[list[int]] = [[] for _ in range(steps)]
    for rank in range(processes):
        draws = iter(sampler(processes, rank, micro_batch))
        for step in range(steps):
            taken[step] += itertools.islice(draws, micro_batch * accumulation)
    assert [sorted(t) for t in taken] == [list(range(8 * s, 8 * s + 8)) for s in range(steps)]


def test_parts_are_drawn_from_in_turn_and_each_has_epochs_of_its_own() -> None:
    DATASETS.register_module(module=Parted, force=True)
    data = DrawnDataset({"type": "Parted"}, seed=3)
    found = [data[draw] for draw in range(3 * 12)]
    for part, (first, count) in enumerate(((0, 3), (3, 4), (7, 2))):
        mine = found[part::3]
        epochs = [mine[start : start + count] for start in range(0, 12, count)]
        assert all(sorted(epoch) == list(range(first, first + count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("processes", [1, 2])
def test_left_out_micro_batches_are_those_that_are_named(processes: int) -> None:
    """The second and the fifth of all: what follows moves up, in every process and on resume."""
    for rank in range(processes):
        plain, short = (sampler(processes, rank, 2, left) for left in ((), (4, 1)))
        whole = list(itertools.islice(plain, 14))
        batches = [whole[i : i + 2] for i in (0, 4, 6, 10, 12)]
        assert list(itertools.islice(short, 10)) == [d for batch in batches for d in batch]
        resumed = sampler(processes, rank, 2, (4, 1))
        resumed.skip(6)
        assert list(itertools.islice(resumed, 4)) == batches[3] + batches[4]


def test_a_sampler_skips_as_if_it_had_drawn() -> None:
    whole = list(itertools.islice(sampler(2, 1, 3), 30))
    resumed = sampler(2, 1, 3)
    resumed.skip(12)
    assert list(itertools.islice(resumed, 18)) == whole[12:]


def mmengine_rates(epochs: int, warm: int, per_epoch: int) -> list[float]:
    """The published chain: linear warm-up by iteration, then a cosine that steps once an epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = LinearLR(optimizer, start_factor=1e-6, begin=0, end=warm * per_epoch, by_epoch=False)
    cosine = CosineAnnealingLR(optimizer, T_max=epochs - warm, begin=warm, end=epochs, eta_min=0)
    rates = []
    for _ in range(epochs):
        for _ in range(per_epoch):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            linear.step()
        cosine.step()
    return rates


def test_the_schedule_is_that_of_the_published_configs() -> None:
    expected = mmengine_rates(epochs=12, warm=3, per_epoch=7)
    ours = Schedule(total=84, warmup=21, start=1e-6, kind="cosine", step=7)
    assert [ours.factor(i) for i in range(84)] == pytest.approx(expected, abs=1e-9)


def test_a_schedule_by_iteration_ends_near_zero_and_a_constant_one_stays() -> None:
    cosine = Schedule(total=50, warmup=5, start=0.1, kind="cosine")
    rates = [cosine.factor(i) for i in range(50)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == rates[5] == 1.0
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 44 / 45)))
    assert Schedule(total=50, warmup=5, start=0.1, kind="constant").factor(40) == 1.0


def test_steps_are_those_of_the_published_detectors() -> None:
    """LinearLR by iteration beside MultiStepLR by epoch, as mmdet's 1x schedule chains them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = LinearLR(optimizer, start_factor=1e-6, begin=0, end=9, by_epoch=False)
    steps = MultiStepLR(optimizer, milestones=[3, 5], gamma=0.1, end=6)
    expected = []
    for _ in range(6):
        for _ in range(7):
            expected.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            linear.step()
        steps.step()
    ours = Schedule(total=42, warmup=9, start=1e-6, kind="step", milestones=(21, 35))
    assert [ours.factor(i) for i in range(42)] == pytest.approx(expected, abs=1e-9)


def head_on(name: str) -> nn.Module:
    model = nn.Module()
    model.backbone = create(name, image_size=32)
    model.head = nn.Linear(8, 2)
    return model


def test_layer_decay_is_that_of_the_published_rule() -> None:
    """ViT: stem decay^(L+1), last block decay, head 1; ViT-B's logs show 0.2542 = 0.9^13."""
    model = head_on("timm/test_vit")
    backbone: Any = model.backbone
    layers = int(backbone.layers)
    groups = parameter_groups(model, 1.0, 0.05, 0.9)
    rates = sorted({group["lr"] for group in groups})
    assert rates[0] == pytest.approx(0.9 ** (layers + 1))
    assert rates[-1] == 1.0
    assert rates[-2] == pytest.approx(0.9)
    by_parameter = {id(p): group for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        group = by_parameter[id(parameter)]
        spared = parameter.ndim == 1 or name.endswith(".bias") or "pos_embed" in name
        assert group["weight_decay"] == (0.0 if spared else 0.05), name
        if "patch_embed" in name or "pos_embed" in name:
            assert group["lr"] == rates[0]
        if name.startswith("head"):
            assert group["lr"] == 1.0


def test_without_layer_decay_there_are_two_groups_and_frozen_parameters_are_left_out() -> None:
    model = head_on("timm/test_resnet")
    groups = parameter_groups(model, 1e-3, 0.05, None)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(1e-3, 0.0), (1e-3, 0.05)]
    backbone: Any = model.backbone
    backbone.requires_grad_(False)
    left = [p for g in parameter_groups(model, 1e-3, 0.05, None) for p in g["params"]]
    assert {id(p) for p in left} == {id(p) for p in model.get_submodule("head").parameters()}


class Planted:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_planted_pickle_runs_nothing(tmp_path: Path) -> None:
    loader.install()
    mark, path = tmp_path / "ran", tmp_path / "iter_3.pth"
    torch.save({"state_dict": {}, "meta": {"iter": 3}, "extra": Planted(mark)}, path)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(nn.Linear(1, 1), str(path))
    assert checkpoints.newest_whole(tmp_path) is None
    assert not mark.exists()


@pytest.mark.parametrize("address", ["https://example.org/a.pth", "torchvision://resnet18"])
def test_checkpoints_never_come_from_addresses(address: str) -> None:
    loader.install()
    with pytest.raises(UserError, match="local files only"):
        load_checkpoint(nn.Linear(1, 1), address)


def test_generator_states_survive_a_safe_checkpoint(tmp_path: Path) -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    np.random.normal()
    path = tmp_path / "iter_1.pth"
    torch.save({"meta": {"iter": 1}, "generators": [checkpoints.generator_states()]}, path)
    expected = (random.random(), np.random.normal(), torch.rand(()).item())
    (states,) = loader.strict_load(str(path))["generators"]
    checkpoints.restore_generators(states)
    assert (random.random(), np.random.normal(), torch.rand(()).item()) == expected


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    for number in (9, 10, 100):
        torch.save({"meta": {"iter": number}}, tmp_path / f"iter_{number}.pth")
    torn = tmp_path / "iter_100.pth"
    torn.write_bytes(torn.read_bytes()[:-40])
    (tmp_path / ".iter_200.pth.x.tmp").touch()
    assert checkpoints.newest_whole(tmp_path) == (tmp_path / "iter_10.pth", 10)


OFFLINE = """
from mtp_bench.errors import UserError
from mtp_bench.mm.backbone import build_backbone
try:
    build_backbone("timm/test_resnet", 0, {"path": None}, image_size=32)
except UserError as error:
    print(error)
"""


def test_timm_weights_offline_are_one_line_with_the_way_out(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = ended.stdout.splitlines()
    assert line.startswith("timm/test_resnet: timm could not fetch its weights (")
    assert "put the file under --weights and name it in the suite: weights:" in line
