"""Two real clusters for the SLURM tests: one as sites have it, and a small one without accounting.

Each is started when the first test asks for it and taken away at the end. A test that uses one
gets it without jobs, with all its daemons and with every node idle.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import CANNOT_BE_HAD, Cluster, prepare, remove_left_over, script
from tests.slurm.place import LENGTH, LONG, SEEDS, Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that ``-m "not slow"`` leaves it out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes n1 to n4 of 8 CPUs, 6000 MB and 4 GPUs; accounting through slurmdbd."""
    yield from _started("full", nodes=4)


@pytest.fixture(scope="session")
def plain_cluster() -> Iterator[Cluster]:
    """One node, no accounting; ended jobs are forgotten after 10 s, arrays end at index 20."""
    yield from _started("plain", nodes=1, ACCOUNTING="none", MIN_JOB_AGE="10", MAX_ARRAY="21")


@pytest.fixture(autouse=True)
def _settled(request: pytest.FixtureRequest) -> Iterator[None]:
    names = [n for n in ("cluster", "plain_cluster") if n in request.fixturenames]
    used: list[Cluster] = [request.getfixturevalue(name) for name in names]
    yield
    for one in used:
        one.settle()


def _started(name: str, nodes: int, **knobs: str) -> Iterator[Cluster]:
    remove_left_over()
    cluster = prepare(name, nodes, **knobs)
    started = script("start.sh", cluster.environment)
    try:
        if started.returncode == CANNOT_BE_HAD:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        yield cluster
    finally:
        stopped = script("stop.sh", cluster.environment, "--purge")
    assert stopped.returncode == 0, stopped.stderr


def make(folder: Path, write: Callable[[Path], Path], data: Path, cluster: Cluster) -> Place:
    """A suite of two jobs that train for some seconds each."""
    here = Place(write(folder), data, cluster)
    here.change(*SEEDS)
    here.change_protocol(*LENGTH)
    return here


@pytest.fixture
def place(
    tmp_path: Path, write_suite: Callable[[Path], Path], tiny_data: Path, cluster: Cluster
) -> Iterator[Place]:
    here = make(tmp_path, write_suite, tiny_data, cluster)
    yield here
    here.kill_all()


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    write_suite: Callable[[Path], Path],
    tiny_data: Path,
    cluster: Cluster,
) -> Place:
    """The same jobs on this machine, where nothing happens to them."""
    here = make(tmp_path_factory.mktemp("undisturbed"), write_suite, tiny_data, cluster)
    code, _, err = here.call("run", here.suite.name)
    assert code == 0, err
    return here


@pytest.fixture(scope="session")
def undisturbed_long(
    tmp_path_factory: pytest.TempPathFactory,
    write_suite: Callable[[Path], Path],
    tiny_data: Path,
    cluster: Cluster,
) -> Place:
    """One of them, so long that it runs into a short time limit."""
    here = make(tmp_path_factory.mktemp("long"), write_suite, tiny_data, cluster)
    here.change_protocol("iterations: 150", f"iterations: {LONG}")
    code, _, err = here.call("run", here.suite.name, "--only", "seed=0")
    assert code == 0, err
    return here


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
