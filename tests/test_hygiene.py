"""The shape of the code: layers, sizes, heavy imports, docstrings, and what never belongs in it."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from mtp_bench import catalog

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mtp_bench").rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}

# The first prefix that fits names the layer (docs/architecture.md has the table).
LAYERS = (
    ("mtp_bench/__init__.py", 0),
    ("mtp_bench/errors.py", 0),
    ("mtp_bench/suite/__init__.py", 1),
    ("mtp_bench/suite/fields.py", 1),
    ("mtp_bench/suite/protocol.py", 1),
    ("mtp_bench/suite/schema.py", 1),
    ("mtp_bench/suite/identity.py", 1),
    ("mtp_bench/suite/strict_yaml.py", 2),
    ("mtp_bench/catalog.py", 2),
    ("mtp_bench/store/", 2),
    ("mtp_bench/datasets/__init__.py", 2),
    ("mtp_bench/datasets/cards/", 2),
    ("mtp_bench/suite/", 3),
    ("mtp_bench/report/", 4),
    ("mtp_bench/metrics/", 4),
    ("mtp_bench/backbones/", 4),
    ("mtp_bench/datasets/", 4),
    ("mtp_bench/tasks/", 4),
    ("mtp_bench/profiling/", 4),
    ("mtp_bench/mm/", 5),
    ("mtp_bench/recipes/", 6),
    ("mtp_bench/worker.py", 7),
    ("mtp_bench/doctor.py", 7),
    ("mtp_bench/executors/", 8),
    ("mtp_bench/cli/", 9),
    ("mtp_bench/__main__.py", 10),
)

# Within layer 4 these may be used by the others, in this order and never back.
WITHIN_FOUR = ("metrics", "profiling", "backbones", "datasets", "tasks", "report")

OPENMMLAB = ("mmengine", "mmcv", "mmdet", "mmrotate", "mmseg")
# Heavy package → where it may be imported when a module is.
HEAVY = {
    "torch": ("backbones/", "datasets/", "tasks/", "profiling/", "mm/", "recipes/"),
    "torchvision": ("backbones/", "datasets/", "mm/"),
    "timm": ("backbones/", "datasets/", "mm/"),
    "pandas": ("report/",),
    "submitit": ("executors/slurm.py",),
    **dict.fromkeys(OPENMMLAB, ("mm/",)),
}


def layer(name: str) -> int:
    return next(number for prefix, number in LAYERS if name.startswith(prefix))


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    """Every imported module, also inside functions; ``from a import b`` gives a and a.b."""
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node, node.module))
            found += [(node, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def file_of(module: str) -> str | None:
    path = module.replace(".", "/")
    return next((n for n in (f"{path}.py", f"{path}/__init__.py") if n in TREES), None)


def room(name: str) -> str:
    return name.split("/")[1]


@pytest.mark.parametrize("name", TREES)
def test_imports_go_down_the_layers(name: str) -> None:
    wrong = []
    for node, module in imports(TREES[name]):
        target = file_of(module) if module.startswith("mtp_bench") else None
        if target is None or target == name or target in ("mtp_bench/__init__.py",):
            continue
        here, there = layer(name), layer(target)
        sideways = here == there == 4 and (
            WITHIN_FOUR.index(room(target)) > WITHIN_FOUR.index(room(name))
        )
        if there > here or (here == there != 4 and room(name) != room(target)) or sideways:
            wrong.append(f"line {node.lineno}: {module} (layer {there}) from layer {here}")
    assert not wrong


def test_no_circle_of_imports() -> None:
    edges = {
        name: {t for _, m in imports(tree) if (t := file_of(m)) and t != name}
        for name, tree in TREES.items()
    }
    packages = {name for name in TREES if name.endswith("__init__.py")}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " → ".join((*trail, name))
        if name in state:
            return
        state[name] = 1
        for target in sorted(edges[name] - packages):
            visit(target, (*trail, name))
        state[name] = 2

    for name in sorted(set(TREES) - packages):
        visit(name, ())


@pytest.mark.parametrize("name", TREES)
def test_heavy_imports_stay_where_they_belong(name: str) -> None:
    inside = name.removeprefix("mtp_bench/")
    functions = [n for n in ast.walk(TREES[name]) if isinstance(n, ast.FunctionDef)]
    late = {id(n) for f in functions for n in ast.walk(f)}
    for node, module in imports(TREES[name]):
        top = module.split(".")[0]
        allowed = HEAVY.get(top)
        if allowed is not None and (id(node) not in late or top in OPENMMLAB or top == "submitit"):
            assert inside.startswith(allowed), f"{name}:{node.lineno} imports {module}"


@pytest.mark.parametrize("name", TREES)
def test_files_and_functions_stay_small(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= 400
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 80, f"{node.name} in line {node.lineno}"


def code_lines(path: Path) -> int:
    """Lines that hold code: not blank, not comment, not docstring."""
    text, held = path.read_text(), set[int]()
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*quiet, tokenize.ENDMARKER):
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            held.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(held)


def test_the_whole_stays_small() -> None:
    assert sum(code_lines(path) for path in FILES) < 18_400


@pytest.mark.parametrize("name", TREES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name])


LIGHT = "import sys, mtp_bench.cli; print(sorted(set(sys.modules) & set(sys.argv[1:])))"


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = [*HEAVY, "numpy", "pydantic", "yaml", "cv2", "PIL"]
    ended = subprocess.run(
        [sys.executable, "-c", LIGHT, *heavy], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


PLAN = (
    "import sys; from pathlib import Path; from mtp_bench.suite.load import load_suite; "
    "from mtp_bench.suite.plan import make_plan; make_plan(load_suite(Path(sys.argv[1]))); "
    "print(sorted(set(sys.modules) & set(sys.argv[2:])))"
)


def test_planning_needs_neither_torch_nor_numpy() -> None:
    suite = str(ROOT / "suites" / "full.yaml")
    ended = subprocess.run(
        [sys.executable, "-c", PLAN, suite, *HEAVY, "numpy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "[]"


ENTRIES = [
    (kind, name)
    for kind, table in catalog.KINDS.items()
    for name, entry in table.items()
    if entry.target is not None
]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_of_the_catalogue_resolves(kind: str, name: str) -> None:
    member = f"{name}resnet18" if name.endswith("/") else name
    assert catalog.load(kind, member) is not None


def test_every_shipped_protocol_is_in_the_catalogue() -> None:
    shipped = {path.stem for path in (ROOT / "mtp_bench" / "protocols").glob("*.yaml")}
    assert shipped == set(catalog.PROTOCOLS)
