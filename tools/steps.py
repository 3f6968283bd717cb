"""The five steps of `make setup`, each with a stamp named by the hash of what it read."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sys
import sysconfig
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import build_mmcv
from children import SetupError, call, query

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / ".stamps"
CONSTRAINTS = ROOT / "constraints.txt"

BUILD_TOOLS = (
    "torch",
    "torchvision",
    "numpy",
    "setuptools",
    "wheel",
    "ninja",
    "packaging",
    "psutil",
    "cython",
)
PACKAGE = f"{ROOT}[demo,dev]"
HEADLESS = "opencv-python-headless"


@dataclass(frozen=True)
class Step:
    """``run`` returns a note for the stamp, ``fits`` says whether a kept note still holds."""

    name: str
    reads: tuple[str, ...]
    run: Callable[[], str]
    fits: Callable[[str], bool] = lambda note: True


def pip(*args: str) -> None:
    """Runs pip in .venv, with the user's PIP_ARGS; quiet where nobody watches."""
    forget_half_installed(VENV)
    quiet = () if sys.stdout.isatty() else ("-q",)
    own = ("-c", str(CONSTRAINTS), *shlex.split(os.environ.get("PIP_ARGS", "")))
    call([str(PYTHON), "-m", "pip", "install", *quiet, *own, *args])


def forget_half_installed(venv: Path) -> None:
    """Lets pip install again what a killed pip left behind and would now take for installed.

    The file INSTALLER is written when all files of the package are there.
    """
    for info in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (info / "INSTALLER").exists():
            shutil.rmtree(info)


def make_venv() -> str:
    """A fresh .venv; one that the user made is kept where it works."""
    ours = STAMPS.exists()
    if VENV.exists() and (ours or not works()):
        shutil.rmtree(VENV)
    STAMPS.mkdir(parents=True)
    if not PYTHON.exists():
        base = getattr(sys, "_base_executable", sys.executable)
        call([base, "-m", "venv", str(VENV)])
    return ""


def works() -> bool:
    """Whether the .venv found here has pip and this Python's version."""
    version = "import pip, sys; print(*sys.version_info[:2])"
    try:
        return query([str(PYTHON), "-c", version]).split() == [str(n) for n in sys.version_info[:2]]
    except (SetupError, OSError):
        return False


def install_build_tools() -> str:
    pip(*BUILD_TOOLS)
    return ""


def install_mmcv() -> str:
    """Without its dependencies, which come next; the note says what it is built for."""
    target = build_mmcv.find_target(PYTHON)
    if build_mmcv.cached_wheel(target.key) is None:
        require(compiling())
    wheel = build_mmcv.ensure(PYTHON, target, shlex.split(os.environ.get("PIP_ARGS", "")))
    pip("--no-deps", "--force-reinstall", str(wheel))
    return target.key


def install_packages() -> str:
    """Headless OpenCV goes last: both OpenCVs own cv2/, and the other one needs libGL."""
    pip("--no-build-isolation", "-e", PACKAGE)
    pip("--force-reinstall", "--no-deps", HEADLESS)
    return ""


def run_operators() -> str:
    call([str(PYTHON), "-m", "mtp_bench.mm.selftest"], log=STAMPS / "selftest.log")
    return ""


def mmcv_fits(note: str) -> bool:
    """FORCE_CUDA=1 after a set-up for the CPU is a new wish; without it what is there stays."""
    forced = build_mmcv.forced_archs()
    return forced is None or note.endswith(f"-cuda-{forced}")


def all_steps() -> list[Step]:
    constraints = CONSTRAINTS.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    metadata = json.dumps([project["project"], project["build-system"]], sort_keys=True)
    interpreter = (sys.version, sys.base_prefix, str(VENV))
    return [
        Step("virtual environment", interpreter, make_venv),
        Step("torch and build tools", (*BUILD_TOOLS, constraints), install_build_tools),
        Step("mmcv with its operators", (build_mmcv.VERSION,), install_mmcv, mmcv_fits),
        Step("all other packages", (metadata, constraints, HEADLESS), install_packages),
        Step("operators run", (), run_operators),
    ]


def stamps(steps: Sequence[Step]) -> list[Path]:
    """Where each step's stamp lies; each hash holds all that came before."""
    digest, paths = hashlib.sha256(), []
    for number, step in enumerate(steps, 1):
        digest.update("\0".join([step.name, *step.reads, ""]).encode())
        paths.append(STAMPS / f"{number}-{digest.hexdigest()[:16]}")
    return paths


def first_pending(steps: Sequence[Step]) -> int:
    """Index of the first step that has to run; the number of steps where all is done."""
    for index, (step, stamp) in enumerate(zip(steps, stamps(steps), strict=True)):
        if not stamp.exists() or not step.fits(stamp.read_text()):
            return index
    return len(steps)


def run_steps(steps: Sequence[Step], begin: int) -> None:
    """Runs what is left; a stamp is written, whole, after its step."""
    paths = stamps(steps)
    for index, (step, stamp) in enumerate(zip(steps, paths, strict=True)):
        label = f"[{index + 1}/{len(steps)}]"
        if index < begin:
            print(f"{label} {step.name}: done before", flush=True)
            continue
        print(f"{label} {step.name}", flush=True)
        started = time.monotonic()
        for later in STAMPS.glob("[0-9]-*"):
            if int(later.name[0]) > index:
                later.unlink()
        note = step.run()
        half = STAMPS / "half"
        half.write_text(note)
        half.replace(stamp)
        print(f"{label} {time.monotonic() - started:.1f} s", flush=True)


def compiling() -> list[str]:
    """What the machine lacks for building mmcv, one line each."""
    lacks = []
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        lacks.append(f"Python.h is missing: {apt(f'python3.{sys.version_info.minor}-dev')}")
    compiler = shlex.split(os.environ.get("CXX", "c++"))[0]
    if shutil.which(compiler) is None:
        lacks.append(f"no C++ compiler ({compiler}): {apt('build-essential')}")
    return lacks


def lacking(begin: int) -> list[str]:
    """What must be installed before anything is downloaded, one line each."""
    lacks = []
    if begin == 0 and not all(importlib.util.find_spec(m) for m in ("venv", "ensurepip")):
        lacks.append(f"Python's venv is missing: {apt(f'python3.{sys.version_info.minor}-venv')}")
    torch = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheel = f"mmcv-{build_mmcv.VERSION}-torch-{torch and torch[1]}*-{python}-*"
    if begin <= 2 and build_mmcv.cached_wheel(wheel) is None:
        lacks += compiling()
    return lacks


def apt(package: str) -> str:
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {package}"


def require(lacks: Sequence[str]) -> None:
    if lacks:
        raise SetupError("\n".join(lacks))


def main() -> int:
    """Exit status: 0 all is set up, 2 something the user can mend, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    steps = all_steps()
    if first_pending(steps) == len(steps):
        return 0
    try:
        with build_mmcv.locked(ROOT / ".setup.lock", "waiting: another make sets up this clone"):
            begin = first_pending(steps)
            require(lacking(begin))
            run_steps(steps, begin)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
