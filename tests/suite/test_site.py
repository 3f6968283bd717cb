"""Site profiles: what is refused and how, SLURM's times, and words that stay words in the shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtp_bench.errors import UserError
from mtp_bench.suite.site import load_site, seconds

SITES = sorted((Path(__file__).parents[2] / "slurm").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_what_we_ship_loads(path: Path) -> None:
    site = load_site(path)
    assert site.limit("finetune") >= 30
    assert site.layout(site.processes_of("pretrain"))[1] <= site.processes_per_node


def test_the_default_tells_every_key() -> None:
    (default,) = (path for path in SITES if path.stem == "default")
    site = load_site(default)
    assert site.model_fields_set == set(type(site).model_fields)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10", 600),  # the five forms of sbatch's manual, and minutes
        ("1:30", 90),
        ("12:00:00", 43_200),
        ("2-03", 183_600),
        ("2-03:04", 183_840),
        ("2-03:04:05", 183_845),
    ],
)
def test_times_as_slurm_writes_them(text: str, wanted: int) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "12h", "1:2:3:4", "1-", "-5", "1.5", "1-2:3:4:5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be minutes, MM:SS"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partition: gpu", "1:1: time: the key 'time' is missing"),
        ("time: 20\nsubmit: 3", "2:1: submit: unknown key"),
        ("time: 20\ncpus: 0", "2:7: cpus: must be greater than or equal to 1, not 0"),
        ("time: soon", "1:7: time: must be minutes, MM:SS, HH:MM:SS or D-HH[:MM[:SS]], not 'soon'"),
        ("time: 0", "'stop_before' must be less than half of 'time' (1 minutes)"),
        ("time: {finetune: 20}", "1:7: time: must say pretrain too"),
        ("time: 20\nmemory: much", "2:9: memory: must have the form"),
        ("time: 20\nenv: {2X: 1}", "2:11: env.2X: is no name of a variable"),
        ("time: 20\nenv: {X: null}", "2:10: env.X: must be a word, a number or true, not null"),
        ('time: 20\nenv: {X: "a\\nb"}', "2:10: env.X: must be one line"),
        ('time: 20\nsetup: ["a\\u2028b"]', "2:9: setup.0: must be one line"),
        ("time: 20\nsbatch: {exclusive: false}", "'sbatch': leave out exclusive"),
        ("time: 20\nsbatch: {mem-per-cpu: 2G}", "sbatch.mem-per-cpu: is set by memory"),
        ("time: 20\nsbatch: {time-min: 3}", "sbatch.time-min: is set by time"),
        ("time: 20\nsbatch: {time: 3}", "sbatch.time: is set by time"),
        ("time: 20\nsbatch: {array: 0-3}", "sbatch.array: is set by parallelism"),
        ("time: 20\nsbatch: {--nice: 3}", "must be a long flag without its dashes"),
        ("time: 20\nactivate: {}", "2:11: activate: give exactly one of 'conda', 'venv'"),
        ("time: 20\ngpus: {request: gres, name: ''}", "2:7: gpus: 'gres' needs a name"),
        ("time: 20\ngpus: {request: gpus}", "2:7: gpus: 'gpus' needs the type alone"),
        ("time: 20\ngpus: {request: tres}", "must be 'gres' or 'gpus'"),
        ('time: 20\npartition: "a\\nb"', "2:12: partition: must be one line"),
        ('time: 20\nsetup: ["a\\rb"]', "2:9: setup.0: must be one line"),
        (
            "time: 20\nprocesses: 6\nprocesses_per_node: 4",
            "6 processes do not fill nodes of 4 evenly: take 4 or 8",
        ),
        ("time: 20\nprocesses: 0", "2:12: processes: must be greater than or equal to 1"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_site(path)
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(f"{path}:")
    assert told in caught.value.lines[0]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "time: soon\ncpus: 0\nqueue: x\n")
    with pytest.raises(UserError) as caught:
        load_site(path)
    assert [line.split(":")[1] for line in caught.value.lines] == ["1", "2", "3"]


def test_a_profile_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "time: 20")
    with pytest.raises(UserError, match=r"no such site profile: did you mean '.*/site\.yaml'"):
        load_site(tmp_path / "sites.yaml")


def test_layouts(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, "time: 20\nprocesses_per_node: 4"))
    assert [site.layout(n) for n in (1, 3, 4, 8, 12)] == [(1, 1), (1, 3), (1, 4), (2, 4), (3, 4)]
    with pytest.raises(UserError, match="take 4 or 8"):
        site.layout(5)


def test_limits_are_whole_minutes_rounded_up(tmp_path: Path) -> None:
    text = 'time: {finetune: "10:30", pretrain: "1-00"}'
    site = load_site(write(tmp_path, text))
    assert (site.limit("finetune"), site.limit("pretrain")) == (11, 1440)


@pytest.mark.parametrize("value", ["a b", "it's", '"', "$(touch x)", "`id`", "a; b", "-n", "*"])
def test_values_stay_one_word_in_the_shell(value: str, tmp_path: Path) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    site = load_site(write(tmp_path, f'time: 20\nenv: {{X: "{escaped}"}}\npython: "{escaped}"'))
    lines = [*site.shell_lines(), f'printf "%s|" "$X" {site.python_command("python")}']
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{value}|{value}|"


def test_activation(tmp_path: Path) -> None:
    venv = load_site(write(tmp_path, "time: 20\nactivate: {venv: /my env}\nsetup: [module load x]"))
    assert venv.shell_lines() == ["module load x", "source '/my env/bin/activate' || exit 1"]
    assert venv.python_command("/here/python") == "python"
    image = load_site(write(tmp_path, "time: 20\nactivate: {container: apptainer exec a.sif}"))
    assert image.python_command("/here/python") == "apptainer exec a.sif python"
    plain = load_site(write(tmp_path, "time: 20"))
    assert plain.python_command("/here/python") == "/here/python"
