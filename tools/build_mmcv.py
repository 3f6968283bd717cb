"""Builds mmcv's wheel with its compiled operators, once for every torch and Python, into a cache.

    python3 tools/build_mmcv.py .venv/bin/python      prints the wheel's path

No package index has a Linux wheel of onedl-mmcv, and pip's own wheel cache does not know which
torch a wheel was built for, so the wheel lies under a name that says it. A build that was
interrupted goes on where it stopped; two builds at the same time wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from children import SetupError, call, query

VERSION = "2.3.6"

FACTS = """
import json, sys, sysconfig, torch
from torch.utils.cpp_extension import CUDA_HOME, include_paths
gpus = range(torch.cuda.device_count())
print(json.dumps({
    "torch": torch.__version__,
    "cuda": torch.version.cuda,
    "nvcc": CUDA_HOME,
    "archs": sorted({"%d.%d" % torch.cuda.get_device_capability(i) for i in gpus}),
    "python": "cp%d%d" % sys.version_info[:2],
    "platform": sysconfig.get_platform(),
    "includes": [*include_paths(), sysconfig.get_paths()["include"]],
}))
"""

# Of three boxes the second covers most of the first and must go. The library is loaded by its
# path, since mmcv's own Python code needs packages that are not installed yet.
CHECK = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("_ext", sys.argv[1])
ext = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ext)
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
scores = torch.tensor([0.9, 0.8, 0.7])
for device in ["cpu"] + ["cuda"] * (sys.argv[2] == "cuda" and torch.cuda.is_available()):
    kept = ext.nms(boxes.to(device), scores.to(device), iou_threshold=0.5, offset=0)
    assert kept.tolist() == [0, 2], f"nms on {device} keeps {kept.tolist()} instead of [0, 2]"
"""


@dataclass(frozen=True)
class Target:
    """What a wheel is built for; ``archs`` is empty where only the CPU operators are built."""

    torch: str
    python: str
    platform: str
    archs: str
    includes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The folder's name in the cache."""
        cuda = f"-cuda-{self.archs}" if self.archs else ""
        return f"mmcv-{VERSION}-torch-{self.torch}-{self.python}-{self.platform}{cuda}"


def cache_root() -> Path:
    """The one folder outside the clone that we write to."""
    if own := os.environ.get("MTP_BENCH_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "mtp-bench"


def forced_archs() -> str | None:
    """What ``FORCE_CUDA=1`` asks for, as a part of a folder's name; None where it is not set."""
    if os.environ.get("FORCE_CUDA") != "1":
        return None
    return re.sub(r"[^0-9A-Za-z.+]+", "_", os.environ.get("TORCH_CUDA_ARCH_LIST", "")) or "default"


def find_target(python: Path) -> Target:
    """Asks the environment's torch what to build for."""
    facts = json.loads(query([str(python), "-c", FACTS]))
    forced = forced_archs()
    if forced and not facts["cuda"]:
        raise SetupError(
            f"FORCE_CUDA=1, but torch {facts['torch']} has no CUDA: remove .venv and run again "
            "with PIP_ARGS naming an index that has the CUDA build"
        )
    archs = forced or "_".join(facts["archs"]) if facts["cuda"] else ""
    if archs and not facts["nvcc"]:
        raise SetupError(
            f"nvcc not found: mmcv's CUDA operators need the CUDA toolkit {facts['cuda']}; install "
            "it and set CUDA_HOME (or set CUDA_VISIBLE_DEVICES= to build for the CPU only)"
        )
    return Target(
        facts["torch"], facts["python"], facts["platform"], archs, tuple(facts["includes"])
    )


def cached_wheel(key: str) -> Path | None:
    """The wheel under ``key`` (a glob pattern serves too), if the cache has it."""
    return next(iter(sorted((cache_root() / "wheels").glob(f"{key}/onedl_mmcv-*.whl"))), None)


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Holds a lock that the system lets go when the process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The children hold it too: a build that outlives us keeps others away from its files.
        os.set_inheritable(handle.fileno(), True)
        yield


def fetch_source(python: Path, room: Path, pip_args: Sequence[str]) -> Path:
    """Downloads and unpacks the source archive; the folder appears whole."""
    source = room / f"onedl_mmcv-{VERSION}"
    if not source.exists():
        print(f"mmcv: fetching onedl-mmcv {VERSION}", flush=True)
        sdist, half = room / "sdist", room / "unpacking"
        shutil.rmtree(half, ignore_errors=True)
        only = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-binary=onedl-mmcv"]
        pip = [str(python), "-m", "pip", "download", "-q", *only, "-d", str(sdist), *pip_args]
        call([*pip, f"onedl-mmcv=={VERSION}"])
        shutil.unpack_archive(next(sdist.glob("*.tar.gz")), half)
        (half / source.name).replace(source)
    return source


def compiler_flags(target: Target, room: Path) -> str:
    """Flags that build the CPU operators in a third of the time, and no slower operators.

    CXXFLAGS replaces Python's own flags, hence -O3 and its companions. Where a compiler cannot use
    the precompiled header it reads the header itself and only takes longer.
    """
    flags = "-DNDEBUG -fwrapv -O3 -g0 -w"
    # Written once for each torch folder: a newer header would make ninja compile everything again,
    # and one that was made in another clone may be gone or differ.
    origin = hashlib.sha256("\0".join(target.includes).encode()).hexdigest()[:8]
    header, half = room / f"{origin}.h", room / "half"
    ready = room / f"{header.name}.gch"
    if not ready.exists():
        header.write_text("#include <torch/types.h>\n")
        defines = ["-DTORCH_API_INCLUDE_EXTENSION_H", "-DTORCH_EXTENSION_NAME=_ext"]
        includes = [f"-I{folder}" for folder in target.includes]
        compiler = [*shlex.split(os.environ.get("CXX", "c++")), *flags.split()]
        options = ["-fPIC", "-std=c++17", *defines, *includes, "-x", "c++-header"]
        call([*compiler, *options, str(header), "-o", str(half)])
        half.replace(ready)
    return f"{flags} -include {header}"


def progress(source: Path) -> Callable[[], None]:
    """A function that says how many files are compiled, when that is news."""
    live, every = sys.stdout.isatty(), 1 if sys.stdout.isatty() else 10
    said = time.monotonic() - every

    def tick() -> None:
        nonlocal said
        plan = next(source.glob("build/temp*/build.ninja"), None)
        if plan is None or time.monotonic() - said < every:
            return
        said = time.monotonic()
        total = len(re.findall(r"^build .*: (?:cuda_)?compile ", plan.read_text(), re.MULTILINE))
        done = sum(1 for _ in plan.parent.rglob("*.o"))
        text = f"  mmcv: {done} / {total} files"
        print(*(["\r", text] if live else [text, "\n"]), sep="", end="", flush=True)

    return tick


def compile_wheel(python: Path, target: Target, room: Path, pip_args: Sequence[str]) -> Path:
    """Builds in the unpacked source, where ninja finds what an interrupted build had compiled."""
    source = fetch_source(python, room, pip_args)
    jobs = os.environ.get("MAX_JOBS") or str(len(os.sched_getaffinity(0)))
    # torch compiles one file after the other where it does not find ninja, which lies in .venv.
    env = {"MAX_JOBS": jobs, "PATH": f"{python.parent.absolute()}:{os.environ['PATH']}"}
    if not target.archs:
        flags = compiler_flags(target, room)
        env |= {"CFLAGS": flags, "CXXFLAGS": flags}
    print(f"  mmcv: compiling with {jobs} jobs", flush=True)
    out = room / "out"
    shutil.rmtree(out, ignore_errors=True)
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "-v", "-w", str(out)]
    pip = [str(python), "-m", "pip", "wheel", *options, str(source)]
    call(pip, env=env, log=room / "build.log", tick=progress(source))
    if sys.stdout.isatty():
        print()
    return next(out.glob("onedl_mmcv-*.whl"))


def check(python: Path, wheel: Path, target: Target, room: Path) -> None:
    """Runs an operator out of the wheel; a wheel without operators builds and imports too."""
    with zipfile.ZipFile(wheel) as archive:
        library = next((n for n in archive.namelist() if re.match(r"mmcv/_ext\..*so$", n)), None)
        if library is None:
            raise SetupError(f"{wheel.name} was built without operators: see {room}/build.log")
        path = archive.extract(library, room / "check")
    kind = "cuda" if target.archs else "cpu"
    call([str(python), "-c", CHECK, path, kind], log=room / "check.log")


def ensure(python: Path, target: Target, pip_args: Sequence[str] = ()) -> Path:
    """The wheel for ``target`` from the cache, built and checked first where it is not there."""
    cache = cache_root()
    room = cache / "build" / target.key
    with locked(cache / "build" / f"{target.key}.lock", "waiting: another set-up builds mmcv"):
        if wheel := cached_wheel(target.key):
            return wheel
        room.mkdir(parents=True, exist_ok=True)
        built = compile_wheel(python, target, room, pip_args)
        try:
            check(python, built, target, room)
        except SetupError:
            shutil.rmtree(room / f"onedl_mmcv-{VERSION}")  # the next try is not to end the same way
            raise
        final = cache / "wheels" / target.key / built.name
        final.parent.mkdir(parents=True, exist_ok=True)
        built.replace(final)
        shutil.rmtree(room)
        return final


if __name__ == "__main__":
    try:
        interpreter = Path(sys.argv[1])
        print(ensure(interpreter, find_target(interpreter)))
    except IndexError:
        sys.exit(f"usage: {sys.argv[0]} PYTHON")
    except SetupError as error:
        sys.exit(str(error))
