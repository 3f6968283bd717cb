"""The doctor: what is broken is named with a fix, and nothing that breaks stops the doctor."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mtp_bench import doctor
from mtp_bench.doctor import Check


def put_tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("capability", "archs", "expected"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),  # 8.0's machine code runs on 8.9
        ((8, 0), ["sm_86", "sm_90"], False),  # but not the other way round
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_90", "sm_100"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # PTX is compiled for what comes later
        ((9, 0), ["sm_80", "compute_100"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a", "compute_90a"], False),  # bound to one GPU each
        ((9, 0), [], False),
    ],
)
def test_kernels_for_a_gpu(
    capability: tuple[int, int], archs: Sequence[str], expected: bool
) -> None:
    assert doctor.has_kernels(capability, archs) is expected


def finished(
    lines: Sequence[object], code: int, stderr: str = ""
) -> "subprocess.CompletedProcess[str]":
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return subprocess.CompletedProcess(["selftest"], code, text, stderr)


def test_a_crash_is_pinned_on_what_was_tried() -> None:
    lines = [
        {"trying": "opencv"},
        {"name": "opencv", "ok": True, "detail": "4.12.0"},
        {"trying": "mmcv roi_align (cpu)"},
    ]
    good, bad = doctor.judge_selftest(finished(lines, -11))
    assert good == Check("opencv", True, "4.12.0")
    assert (bad.name, bad.ok) == ("mmcv roi_align (cpu)", False)
    assert bad.detail == "the process died of signal 11"
    assert "make setup" in bad.fix


def test_a_selftest_that_does_not_start_is_broken() -> None:
    (check,) = doctor.judge_selftest(finished([], 1, "Traceback\nModuleNotFoundError: no torch"))
    assert check == Check("selftest", False, "ModuleNotFoundError: no torch", doctor.SETUP)


def test_a_gpu_without_kernels_is_broken() -> None:
    facts = {
        "version": "2.13.0+cu130",
        "cuda": "13.0",
        "archs": ["sm_80"],
        "gpus": [
            {"name": "NVIDIA A100", "bytes": 80 * 2**30, "capability": [8, 0]},
            {"name": "Tesla V100", "bytes": 16 * 2**30, "capability": [7, 0]},
        ],
    }
    torch, new, old = doctor.judge_torch(facts)
    assert torch == Check("torch", True, "2.13.0+cu130 (CUDA 13.0 build)")
    assert new == Check("gpu 0", True, "NVIDIA A100, 80 GiB, capability 8.0")
    assert old.ok is False
    assert old.detail == "Tesla V100, 16 GiB, capability 7.0; torch is for sm_80"
    assert "sm_70" in old.fix


@pytest.mark.parametrize(
    ("cuda", "ok", "word"), [(None, None, "CPU build"), ("13.0", False, "none of them")]
)
def test_gpus_that_torch_does_not_see(
    cuda: str | None, ok: bool | None, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tool(tmp_path, "nvidia-smi", "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.unseen_gpus(cuda)
    assert check.ok is ok
    assert check.detail.startswith("1,")
    assert word in check.detail
    assert check.fix


def test_a_hanging_tool_is_given_up_and_what_it_said_kept() -> None:
    script = "import signal; print('begun', flush=True); signal.pause()"
    done = doctor.run_tool([sys.executable, "-c", script], 1.0)
    assert (done.returncode, done.stdout) == (124, "begun\n")
    assert doctor.how_it_ended(done) == "no answer in 1 s"


def test_versions_are_compared_with_the_pins(tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    version = doctor.installed("numpy")
    pins.write_text(f"# a comment\nnumpy=={version}\nno-such-package==1.0\n")
    assert [c.ok for c in doctor.check_pins(pins)] == [True]
    pins.write_text("NumPy==0.1\n")
    (check,) = doctor.check_pins(pins)
    assert (check.ok, check.detail) == (None, f"numpy {version} instead of 0.1")
    assert [c.ok for c in doctor.check_pins(tmp_path / "absent")] == [None]


def test_a_missing_package_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("no-such-package==1.0\n")
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["No_Such.Package>=1"])
    assert doctor.check_pins(pins) == [
        Check("packages", False, "not installed: no-such-package", doctor.SETUP)
    ]


def test_slurm_absent_answering_and_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(tools))
    assert [c.ok for c in doctor.check_slurm()] == [None]
    put_tool(tools, "sbatch", "exit 0")
    put_tool(tools, "sinfo", "echo 'gpu* (4 nodes, up)'; echo 'cpu (2 nodes, down)'")
    assert doctor.check_slurm() == [Check("slurm", True, "gpu* (4 nodes, up), cpu (2 nodes, down)")]
    put_tool(tools, "sinfo", "echo 'sinfo: error: no controller' >&2; exit 1")
    (check,) = doctor.check_slurm()
    assert check.ok is False
    assert check.detail == "sinfo does not answer: sinfo: error: no controller"


def test_data_root(tmp_path: Path) -> None:
    (check,) = doctor.check_data(None)
    assert (check.ok, "MTP_BENCH_DATA" in check.fix) == (None, True)
    (check,) = doctor.check_data(tmp_path / "nowhere")
    assert (check.ok, check.detail) == (False, f"{tmp_path}/nowhere: No such file or directory")
    assert [c.ok for c in doctor.check_data(tmp_path)] == [None]
    (tmp_path / "EuroSAT").mkdir()
    (check,) = doctor.check_data(tmp_path)
    assert check.ok is True
    assert check.detail.startswith(f"{tmp_path}: EuroSAT (1 of ")


def test_folders_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.judge_folder("runs", tmp_path / "not" / "yet", "X").ok is True
    assert list(tmp_path.iterdir()) == [], "a look must leave nothing behind"
    (tmp_path / "file").touch()
    check = doctor.judge_folder("runs", tmp_path / "file" / "runs", "MTP_BENCH_RUNS")
    assert (check.ok, "MTP_BENCH_RUNS" in check.fix) == (False, True)
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2**80)
    assert doctor.judge_folder("runs", tmp_path, "X").ok is False


def test_a_check_that_breaks_down_is_a_finding() -> None:
    def surprise() -> list[Check]:
        raise OSError("odd\nlines")

    assert doctor.guarded("x", surprise) == [Check("x", False, "OSError: odd", doctor.SETUP)]


@pytest.mark.mm
def test_this_environment_is_well(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert [check for check in checks.values() if check.ok is False] == []
    assert checks["mmcv roi_align (cpu)"].detail == "gives 4.5000"
    assert checks["mmcv box_iou_rotated (cpu)"].detail == "gives 0.7071"


SHIM = """
from mtp_bench.backbones import torchvision_shim
first, second = torchvision_shim.apply(), torchvision_shim.apply()
assert first == second, (first, second)
import torch, torchvision
from torchvision.transforms import v2
try:
    kept = torchvision.ops.nms(torch.tensor([[0., 0, 1, 1]]), torch.tensor([1.0]), 0.5)
    assert not first and kept.tolist() == [0], "the real operators must stay where they load"
except RuntimeError:
    assert first
"""


def test_torchvision_imports_beside_any_torch() -> None:
    done = doctor.run_tool([sys.executable, "-c", SHIM], 60)
    assert done.returncode == 0, done.stderr
