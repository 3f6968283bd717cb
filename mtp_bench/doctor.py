"""What this machine has and lacks, each with the fix: `mtp-bench doctor`.

A check is a function that returns its findings. What may crash or hang (torch, compiled operators)
is tried by ``mtp_bench.mm.selftest`` in a process of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import mtp_bench

SELFTEST_LIMIT_S = 180.0
LEAST_FREE_BYTES = 2 * 2**30
"""The demo fits into it; a suite on real data needs more, which its plan says."""

CLONE = Path(mtp_bench.__file__).parents[1]
SETUP = "run `make setup`"
REBUILD = "remove the wheels folder in mtp-bench's cache and .venv, then run `make setup`"
REBUILD_CUDA = "run `FORCE_CUDA=1 make setup` where the CUDA toolkit (nvcc) is installed"


@dataclass(frozen=True)
class Check:
    """One finding. ``ok``: True well, False broken, None worth knowing and no hindrance."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def examine(data: Path | None) -> list[Check]:
    """All checks; one that fails unforeseen is a finding, and never hides the others."""
    checks: Sequence[tuple[str, Callable[[], list[Check]]]] = (
        ("python", check_python),
        ("packages", partial(check_pins, CLONE / "constraints.txt")),
        ("dependencies", check_dependencies),
        ("selftest", check_compiled),
        ("slurm", check_slurm),
        ("data", partial(check_data, data)),
        ("disk", check_disk),
    )
    return [check for name, run in checks for check in guarded(name, run)]


def guarded(name: str, run: Callable[[], list[Check]]) -> list[Check]:
    """The check's findings, or that it broke down."""
    try:
        return run()
    except Exception as error:  # a doctor that stops at the first surprise helps nobody
        return [Check(name, False, f"{type(error).__name__}: {error}".splitlines()[0], SETUP)]


def check_python() -> list[Check]:
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("mtp-bench")["Requires-Python"]
    version = sys.version.split()[0]
    ok = version in SpecifierSet(wanted)
    fix = "" if ok else f"make .venv anew with a Python {wanted}: make clean setup PYTHON=…"
    return [Check("python", ok, f"{version} ({sys.executable})", fix)]


def check_pins(constraints: Path) -> list[Check]:
    """Installed versions against the measured ones; another torch may be what a cluster demands."""
    from packaging.utils import canonicalize_name

    if not constraints.exists():
        return [Check("packages", None, f"no {constraints}: versions are not compared")]
    lines = re.findall(r"^([\w.-]+)==(\S+)", constraints.read_text(), re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in lines}
    needed = {
        canonicalize_name(re.split(r"[^\w.-]", line)[0])
        for line in metadata.requires("mtp-bench") or []
        if "extra ==" not in line
    }
    found = {name: installed(name) for name in pins}
    missing = sorted(name for name in needed & found.keys() if found[name] is None)
    if missing:
        return [Check("packages", False, f"not installed: {', '.join(missing)}", SETUP)]
    other = [
        f"{name} {version} instead of {pins[name]}"
        for name, version in found.items()
        if version is not None and version.partition("+")[0] != pins[name]
    ]
    if other:
        return [Check("packages", None, "; ".join(other), f"if that is not on purpose, {SETUP}")]
    return [Check("packages", True, f"{len(pins)} pinned versions agree")]


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_dependencies() -> list[Check]:
    """What `pip check` says."""
    done = run_tool([sys.executable, "-m", "pip", "check"], 60)
    said = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode and said and "No module named pip" in said[-1]:
        return [Check("dependencies", None, "no pip in this environment: not compared")]
    ok = done.returncode == 0
    return [Check("dependencies", ok, "; ".join(said[:5]) or "nothing said", "" if ok else SETUP)]


def run_tool(command: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Exit status 124 where it took too long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as late:
        out = late.stdout or ""
        out = out.decode(errors="replace") if isinstance(out, bytes) else out
        return subprocess.CompletedProcess(command, 124, out, f"no answer in {limit_s:.0f} s")


def check_compiled() -> list[Check]:
    """torch, GPUs, torchvision, OpenCV and mmcv's operators, as the selftest found them."""
    command = [sys.executable, "-m", "mtp_bench.mm.selftest"]
    return judge_selftest(run_tool(command, SELFTEST_LIMIT_S))


def judge_selftest(done: subprocess.CompletedProcess[str]) -> list[Check]:
    """One check a try; a try without a result is what the process died of."""
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = {line["name"]: line for line in lines if "name" in line}
    checks: list[Check] = []
    for name in [line["trying"] for line in lines if "trying" in line] or ["selftest"]:
        if name not in results:
            checks.append(Check(name, False, how_it_ended(done), fix_for(name)))
        elif name == "torch" and results[name]["ok"]:
            checks += judge_torch(results[name]["detail"])
        else:
            ok = bool(results[name]["ok"])
            checks.append(Check(name, ok, results[name]["detail"], "" if ok else fix_for(name)))
    return checks


def how_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process died of signal {-done.returncode}"
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"exit status {done.returncode}"


def fix_for(name: str) -> str:
    if name.startswith("mmcv"):
        return REBUILD_CUDA if "cuda" in name else REBUILD
    return SETUP


def judge_torch(facts: dict[str, Any]) -> list[Check]:
    """The build of torch, and each GPU with whether that build has kernels for it."""
    build = f"CUDA {facts['cuda']}" if facts["cuda"] else "CPU"
    checks = [Check("torch", True, f"{facts['version']} ({build} build)")]
    for number, gpu in enumerate(facts["gpus"]):
        major, minor = gpu["capability"]
        detail = f"{gpu['name']}, {gpu['bytes'] / 2**30:.0f} GiB, capability {major}.{minor}"
        if has_kernels((major, minor), facts["archs"]):
            checks.append(Check(f"gpu {number}", True, detail))
            continue
        archs = " ".join(facts["archs"])
        fix = f"install a torch built for sm_{major}{minor} (PIP_ARGS in docs/install.md)"
        checks.append(Check(f"gpu {number}", False, f"{detail}; torch is for {archs}", fix))
    return checks if facts["gpus"] else [*checks, unseen_gpus(facts["cuda"])]


def unseen_gpus(cuda: str | None) -> Check:
    """Whether there is no GPU, or one that this torch cannot use."""
    listed = run_tool(["nvidia-smi", "-L"], 30).stdout if shutil.which("nvidia-smi") else ""
    count = listed.count("GPU ")
    if not count:
        return Check("gpu", None, "none: jobs run on the CPU")
    if cuda is None:
        fix = "make clean setup, with PIP_ARGS for the CUDA build (docs/install.md)"
        return Check("gpu", None, f"{count}, unused: torch is a CPU build", fix)
    fix = f"update the NVIDIA driver to one for CUDA {cuda}, and look at CUDA_VISIBLE_DEVICES"
    return Check("gpu", False, f"{count}, and torch reaches none of them", fix)


def has_kernels(capability: tuple[int, int], archs: Sequence[str]) -> bool:
    """Machine code (sm) serves its own major version from its minor on, PTX (compute) all later.

    A letter at the end (sm_90a) binds it to exactly that GPU.
    """
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch)
        if found is None:
            continue
        kind, built = found[1], (int(found[2]), int(found[3]))
        later = not found[4] and built <= capability
        if built == capability or (later and (kind == "compute" or built[0] == capability[0])):
            return True
    return False


def check_slurm() -> list[Check]:
    here = "jobs run on this machine only"
    absent = [tool for tool in ("sbatch", "sinfo") if shutil.which(tool) is None]
    if absent:
        return [Check("slurm", None, f"no {' and no '.join(absent)}: {here}")]
    done = run_tool(["sinfo", "--noheader", "--format=%P (%D nodes, %a)"], 20)
    if "configuration source" in done.stderr:
        return [Check("slurm", None, f"installed, and of no cluster: {here}")]
    if done.returncode:
        fix = "ask the cluster's staff, or look at SLURM_CONF"
        return [Check("slurm", False, f"sinfo does not answer: {how_it_ended(done)}", fix)]
    return [Check("slurm", True, ", ".join(done.stdout.split("\n")[:-1]) or "no partition")]


def check_data(data: Path | None) -> list[Check]:
    from mtp_bench import catalog

    if data is None:
        fix = "for anything but the demo: set MTP_BENCH_DATA to the folder of your data sets"
        return [Check("data", None, "no data root given", fix)]
    try:
        there = {entry.name for entry in data.iterdir()}
    except OSError as error:
        fix = "name a folder that can be read with --data or MTP_BENCH_DATA"
        return [Check("data", False, f"{data}: {error.strerror}", fix)]
    names = catalog.names("dataset")
    folders = {name: catalog.find("dataset", name).facts.get("folder", name) for name in names}
    have = [name for name, folder in folders.items() if folder in there]
    if not have:
        fix = "`mtp-bench data list` says which folders belong there"
        return [Check("data", None, f"{data}: none of the {len(names)} data sets", fix)]
    return [Check("data", True, f"{data}: {', '.join(have)} ({len(have)} of {len(names)})")]


def check_disk() -> list[Check]:
    from mtp_bench.store.paths import cache_root

    runs = Path(os.environ.get("MTP_BENCH_RUNS", "runs"))
    return [
        judge_folder("runs", runs, "MTP_BENCH_RUNS"),
        judge_folder("cache", cache_root(), "MTP_BENCH_CACHE"),
    ]


def judge_folder(name: str, folder: Path, variable: str) -> Check:
    """Free space and the right to write, in the folder or where it will be made."""
    ground = folder.absolute()
    while not ground.exists():
        ground = ground.parent
    fix = f"set {variable} to a folder on another disk"
    try:
        with tempfile.TemporaryFile(dir=ground):
            free = shutil.disk_usage(ground).free
    except OSError as error:
        return Check(name, False, f"{folder}: cannot write ({error.strerror})", fix)
    ok = free >= LEAST_FREE_BYTES
    return Check(name, ok, f"{folder}: {free / 2**30:.1f} GiB free", "" if ok else fix)
