"""The set-up of `make setup`: what is skipped, what an interruption leaves, what a user is told."""

import importlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of tools/, which is no package."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def make_steps(tool: Any, log: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three steps that note their name; what the second one reads can be chosen."""
    steps = tool("steps")
    monkeypatch.setattr(steps, "STAMPS", tmp_path)

    def make(reads: str = "x", broken: bool = False) -> Any:
        def step(name: str) -> str:
            log.append(name)
            if broken and name == "two":
                raise KeyboardInterrupt
            return ""

        def build(name: str, what: str) -> Any:
            return steps.Step(name, (what,), lambda: step(name))

        return [build("one", ""), build("two", reads), build("three", "")]

    return make


def bring_up(tool: Any, plan: Any) -> None:
    steps = tool("steps")
    steps.run_steps(plan, steps.first_pending(plan))


def test_what_is_done_is_skipped(tool: Any, make_steps: Any, log: list[str]) -> None:
    bring_up(tool, make_steps())
    bring_up(tool, make_steps())
    assert log == ["one", "two", "three"]


def test_a_changed_input_reruns_its_step_and_the_later_ones(
    tool: Any, make_steps: Any, log: list[str]
) -> None:
    bring_up(tool, make_steps("x"))
    log.clear()
    bring_up(tool, make_steps("y"))
    assert log == ["two", "three"]
    log.clear()
    bring_up(tool, make_steps("x"))
    assert log == ["two", "three"], "the stamps of another state must not count"


def test_an_interrupted_step_is_not_done(tool: Any, make_steps: Any, log: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        bring_up(tool, make_steps(broken=True))
    log.clear()
    bring_up(tool, make_steps())
    assert log == ["two", "three"]


def test_a_users_working_venv_is_kept_and_ours_is_made_anew(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tool("steps")
    venv, python = tmp_path / ".venv", tmp_path / ".venv/bin/python"
    for name, path in {"VENV": venv, "PYTHON": python, "STAMPS": venv / ".stamps"}.items():
        monkeypatch.setattr(steps, name, path)
    python.parent.mkdir(parents=True)
    assert not steps.works()
    python.write_text(f"#!/bin/sh\necho {sys.version_info[0]} {sys.version_info[1]}\n")
    python.chmod(0o755)
    steps.make_venv()
    assert python.read_text().startswith("#!/bin/sh")
    # With stamps it is ours, and this step runs only where it is half made or for another Python.
    steps.make_venv()
    assert python.is_symlink()
    assert steps.works()


def test_a_package_that_a_killed_pip_left_is_installed_again(tool: Any, tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for name, last in (("whole-1.0", "INSTALLER"), ("half-1.0", "METADATA")):
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info" / last).touch()
    tool("steps").forget_half_installed(tmp_path)
    assert [path.name for path in site.iterdir()] == ["whole-1.0.dist-info"]


def target(tool: Any, **other: Any) -> Any:
    facts = {"torch": "2.13.0+cpu", "python": "cp311", "platform": "linux-x86_64", "archs": ""}
    return tool("build_mmcv").Target(**{**facts, "includes": (), **other})


def test_a_wheel_is_found_only_by_what_it_was_built_for(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tool("build_mmcv")
    monkeypatch.setenv("MTP_BENCH_CACHE", str(tmp_path))
    wheel = tmp_path / "wheels" / target(tool).key / "onedl_mmcv-2.3.6-cp311.whl"
    wheel.parent.mkdir(parents=True)
    wheel.with_suffix(".whl.part").touch()
    assert build.cached_wheel(target(tool).key) is None
    wheel.touch()
    assert build.ensure(Path("/nonexistent"), target(tool)) == wheel
    for other in (
        {"torch": "2.13.0+cu130"},
        {"torch": "2.14.0+cpu"},
        {"python": "cp312"},
        {"platform": "linux-aarch64"},
        {"archs": "9.0"},
    ):
        assert build.cached_wheel(target(tool, **other).key) is None


def test_a_wheel_without_operators_does_not_reach_the_cache(tool: Any, tmp_path: Path) -> None:
    wheel = tmp_path / "onedl_mmcv-2.3.6-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mmcv/__init__.py", "")
    with pytest.raises(tool("children").SetupError, match="without operators"):
        tool("build_mmcv").check(Path(sys.executable), wheel, target(tool), tmp_path)


def test_force_cuda_is_a_new_wish_and_its_absence_is_none(
    tool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = tool("steps").mmcv_fits
    cpu, cuda = target(tool).key, target(tool, archs="8.0_9.0").key
    monkeypatch.delenv("FORCE_CUDA", raising=False)
    assert fits(cpu)
    assert fits(cuda)
    monkeypatch.setenv("FORCE_CUDA", "1")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0")
    assert not fits(cpu)
    assert fits(cuda)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    assert not fits(cuda)


def test_one_cache_and_three_ways_to_name_it(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtp_bench.store.paths import cache_root

    for name, value, expected in (
        ("HOME", "/home/me", "/home/me/.cache/mtp-bench"),
        ("XDG_CACHE_HOME", "/big", "/big/mtp-bench"),
        ("MTP_BENCH_CACHE", "/own", "/own"),
    ):
        if name == "HOME":
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
            monkeypatch.delenv("MTP_BENCH_CACHE", raising=False)
        monkeypatch.setenv(name, value)
        assert tool("build_mmcv").cache_root() == Path(expected) == cache_root()


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from children import call
call([sys.executable, "-c", '''
import signal
def stop(number, frame):
    print("tidied up", flush=True)
    raise SystemExit
signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
signal.pause()
'''])
"""


def test_an_interruption_lets_the_child_tidy_up() -> None:
    command = [sys.executable, "-c", PARENT, str(TOOLS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
    assert out == "tidied up\n"
    assert "KeyboardInterrupt" in err


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from build_mmcv import locked
with locked(Path(sys.argv[2]), "waiting"):
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_others_out_and_dies_with_its_holder(tool: Any, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(TOOLS), str(path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"holding\n"
        with subprocess.Popen(command, **pipes) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == b"waiting\n"
            assert select.select([second.stdout], [], [], 0.2)[0] == []
            first.kill()
            assert second.stdout.readline() == b"holding\n"
            second.kill()


def test_what_the_machine_lacks_is_said_before_anything_is_made(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(TOOLS, clone / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    env = {"PATH": str(tmp_path / "empty"), "MTP_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(clone / "tools/setup.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    sudo = "" if os.geteuid() == 0 else "sudo "
    lines = done.stderr.splitlines()
    assert f"no C++ compiler (c++): {sudo}apt-get install build-essential" in lines
    assert done.returncode == 2
    assert not (clone / ".venv").exists()


def test_a_python_that_does_not_fit_says_so(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = tool("setup").gate
    monkeypatch.setattr(sys, "version_info", (3, 8, 10))
    assert gate() == 2
    assert capsys.readouterr().err.startswith("python 3.8 does not fit: Python 3.11 to 3.13")


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lists = [project["dependencies"], *extras]
    names = {name.partition(";")[0].lower() for each in lists for name in each}
    constraints = (ROOT / "constraints.txt").read_text()
    pinned = set(re.findall(r"^([\w.-]+)==\d", constraints, re.MULTILINE))
    assert names - pinned == set()
