"""Suites and protocols from YAML: all that is wrong with a file, as ``file:line:column: …``."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mtp_bench import catalog
from mtp_bench.errors import UserError, nearest
from mtp_bench.suite import strict_yaml
from mtp_bench.suite.chain import expand
from mtp_bench.suite.schema import ProtocolFile, Rule, Suite, Where
from mtp_bench.suite.strict_yaml import Document, Loc

_PLACE = re.compile(r":\d+:\d+: ")
M = TypeVar("M", bound=BaseModel)
SHOWN = 80
PROTOCOL_FOLDER = Path(__file__).resolve().parent.parent / "protocols"
MUST = {
    "literal_error": "be {expected}",
    "bool_type": "be true or false",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "string_type": "be a word",
    "tuple_type": "be a list",
    "dict_type": "be a mapping",
    "model_type": "be a mapping",
    "string_pattern_mismatch": "have the form {pattern}",
}
"""Pydantic's complaints about one value, in our words."""


@dataclass(frozen=True)
class LoadedSuite:
    """A suite, its protocol, and the places to point at."""

    suite: Suite
    protocol: ProtocolFile
    document: Document


def load_suite(path: Path) -> LoadedSuite:
    """Read and check a suite. ``UserError`` holds every problem of the file, one a line."""
    document = read(path, "suite", "give the path of a suite's YAML file")
    suite = validate(document, Suite)
    problems = list(_suite_problems(suite, document))
    try:
        protocol = load_protocol(suite.protocol, path.parent)
    except UserError as error:
        for line in error.lines:
            placed = _PLACE.search(line)
            problems.append(line if placed else document.problem(("protocol",), line))
        raise UserError(*problems) from None
    if problems:
        raise UserError(*problems)
    return LoadedSuite(suite, protocol, document)


def read(path: Path, what: str, otherwise: str) -> Document:
    """A file's document. ``UserError`` names the nearest file there is, or says ``otherwise``."""
    if not path.exists():
        known = sorted(map(str, path.parent.glob("*.yaml")))
        hint = nearest(str(path), known) if known else otherwise
        raise UserError(f"{path}: no such {what}: {hint}")
    return strict_yaml.read(path)


def load_protocol(name: str, folder: Path) -> ProtocolFile:
    """A shipped protocol by its name, or the user's by a path relative to the suite."""
    if name in catalog.PROTOCOLS:
        path = PROTOCOL_FOLDER / f"{name}.yaml"
    elif name.endswith((".yaml", ".yml")):
        path = folder / name
        if not path.exists():
            raise UserError(f"no such protocol file: {path}")
    else:
        known = nearest(name, list(catalog.PROTOCOLS))
        raise UserError(f"unknown protocol '{name}': {known} (or give the path of a .yaml file)")
    document = strict_yaml.read(path)
    protocol = validate(document, ProtocolFile)
    problems = list(_rule_problems(protocol.rules, document, "rules"))
    if problems:
        raise UserError(*problems)
    return protocol


def validate(document: Document, model: type[M]) -> M:
    """A document as a model; pydantic's complaints in our words, at their lines."""
    if not isinstance(document.data, dict):
        raise UserError(document.problem((), "must be a mapping of keys to values"))
    try:
        return model.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        errors = error.errors()
        above = {e["loc"][:end] for e in errors for end in range(len(e["loc"]))}
        deepest = [e for e in errors if e["loc"] not in above]
        deepest.sort(key=lambda e: document.mark(_real_loc(document.data, e["loc"]), at_key=True))
        raise UserError(*dict.fromkeys(_line(document, model, e) for e in deepest)) from None


def _line(document: Document, model: type[BaseModel], error: Any) -> str:
    loc = _real_loc(document.data, error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    given = json.dumps(error.get("input"), default=str)
    given = given if len(given) <= SHOWN else f"{given[:SHOWN]}…"
    if kind == "extra_forbidden":
        known = sorted(_fields_at(model, loc[:-1]))
        message = f"unknown key: {nearest(str(loc[-1]), known)}"
        return document.problem(loc, message, at_key=True)
    if kind == "missing":
        return document.problem(loc, f"the key '{loc[-1]}' is missing")
    if kind in ("too_short", "string_too_short"):
        message = "must not be empty"
    elif kind == "value_error":
        message = str(context.get("error", error["msg"]))
    elif kind in MUST:
        message = f"must {MUST[kind].format(**context)}, not {given}"
    else:
        said = error["msg"].replace("Input should be", "must be").replace("Value should", "must")
        message = f"{said}, not {given}"
    return document.problem(loc, message)


def _real_loc(data: Any, loc: Loc) -> Loc:
    """Pydantic's location without the union branches, which are not in the file."""
    real: list[str | int] = []
    here = data
    for index, part in enumerate(loc):
        if isinstance(here, dict) and (part in here or index == len(loc) - 1):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        real.append(part)
    return tuple(real)


def _fields_at(model: type[BaseModel], loc: Loc) -> set[str]:
    """The keys that a model allows at a place."""
    here: list[Any] = [model]
    for part in loc:
        here = [inner for outer in here for inner in _inside(outer, part)]
    return {name for m in here if _is_model(m) for name in m.model_fields}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, part: str | int) -> list[Any]:
    if _is_model(kind):
        info = kind.model_fields.get(str(part))
        return _plain(info.annotation) if info else []
    arguments = get_args(kind)
    if get_origin(kind) in (tuple, dict) and arguments:
        return _plain(arguments[0] if get_origin(kind) is tuple else arguments[1])
    return []


def _plain(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [k for a in get_args(annotation) if a is not NoneType for k in _plain(a)]
    return [annotation]


def _attempt(
    document: Document, loc: Loc, check: Callable[..., object], *given: object, at_key: bool = False
) -> Iterator[str]:
    try:
        check(*given)
    except UserError as error:
        yield from (document.problem(loc, line, at_key=at_key) for line in error.lines)


def _suite_problems(suite: Suite, document: Document) -> Iterator[str]:
    for check in (_recipe_problems, _grid_problems, _weights_problems, _baseline_problems):
        yield from check(suite, document)
    yield from _rule_problems(suite.overrides, document, "overrides")
    yield from _left_out_problems(suite, document)
    used: dict[str, list[str]] = {
        "backbone": list(suite.backbones),
        "dataset": list(suite.datasets or ()),
        "task": list(suite.tasks or ()),
    }
    for index, rule in enumerate(suite.overrides):
        if rule.where.stage:
            continue  # pretraining has datasets of its own
        for key, names in used.items():
            for name in getattr(rule.where, key) or () if names else ():
                if name not in names:
                    loc = ("overrides", index, "where", key)
                    yield document.problem(loc, f"'{name}' is not in this suite")


def _left_out_problems(suite: Suite, document: Document) -> Iterator[str]:
    for index, where in enumerate(suite.leave_out):
        loc: Loc = ("leave_out", index)
        if not where.model_fields_set or where.stage:
            yield document.problem(loc, "name a task, dataset or backbone, of fine-tuning")
        yield from _where_problems(where, document, loc)


def _recipe_problems(suite: Suite, document: Document) -> Iterator[str]:
    for name in suite.recipes:
        loc = ("recipes", name)
        if name in catalog.names("recipe stage"):
            yield document.problem(loc, "this name is taken: choose another", at_key=True)
        stage = suite.recipes[name].stage
        if stage is not None:
            yield from _attempt(document, (*loc, "stage"), _runnable, stage)
        else:
            yield from _attempt(document, loc, expand, name, suite.recipes)
        recipes = [recipe for used in suite.backbones.values() for recipe in used]
        chains = [recipe.chain or "" for recipe in suite.recipes.values()]
        if not any(name in text.split("+") for text in (*recipes, *chains)):
            yield document.problem(loc, "no backbone uses this recipe", at_key=True)


def _runnable(stage: str) -> None:
    if "runs_on" not in catalog.find("recipe stage", stage).facts:
        raise UserError(f"'{stage}' is never run here: a variant is of mae or mtp")


def _grid_problems(suite: Suite, document: Document) -> Iterator[str]:
    for backbone, recipes in suite.backbones.items():
        loc: Loc = ("backbones", backbone)
        yield from _attempt(document, loc, catalog.find, "backbone", backbone, at_key=True)
        for index, recipe in enumerate(recipes):
            here = (*loc, index)
            if recipe in recipes[:index]:
                yield document.problem(here, f"'{recipe}' stands twice")
            yield from _attempt(document, here, expand, recipe, suite.recipes)
    for index, dataset in enumerate(suite.datasets or ()):
        here = ("datasets", index)
        if dataset in (suite.datasets or ())[:index]:
            yield document.problem(here, f"'{dataset}' stands twice")
        yield from _attempt(document, here, _benchmark, dataset)
    for key in ("seeds", "pretrain_seeds"):
        seeds = getattr(suite, key)
        if len(set(seeds)) < len(seeds):
            yield document.problem((key,), "a seed stands twice")


def _benchmark(name: str) -> None:
    if catalog.find("dataset", name).facts["task"] == "pretraining":
        raise UserError(f"'{name}' is for pretraining: recipes use it, it is no benchmark")


def _weights_problems(suite: Suite, document: Document) -> Iterator[str]:
    for backbone, files in suite.weights.items():
        loc: Loc = ("weights", backbone)
        if backbone not in suite.backbones:
            hint = nearest(backbone, list(suite.backbones))
            yield document.problem(loc, f"not a backbone of this suite: {hint}", at_key=True)
            continue
        used = suite.backbones[backbone]
        for recipe in files:
            loc = ("weights", backbone, recipe)
            try:
                wanted = expand(recipe, suite.recipes)
                chains = [expand(r, suite.recipes)[: len(wanted)] for r in used]
            except UserError:
                continue  # told where the recipe is named
            if not wanted:
                yield document.problem(loc, "'scratch' takes no weights", at_key=True)
            elif wanted not in chains:
                why = f"no recipe of this backbone uses it: {nearest(recipe, list(used))}"
                yield document.problem(loc, why, at_key=True)


def _baseline_problems(suite: Suite, document: Document) -> Iterator[str]:
    wanted = suite.baseline
    if wanted is None:
        return
    chosen = wanted if isinstance(wanted, dict) else dict.fromkeys(suite.backbones, wanted)
    for backbone, recipe in chosen.items():
        loc: Loc = ("baseline", backbone) if isinstance(wanted, dict) else ("baseline",)
        if backbone not in suite.backbones:
            hint = nearest(backbone, list(suite.backbones))
            yield document.problem(loc, f"not a backbone of this suite: {hint}", at_key=True)
        elif recipe not in suite.backbones[backbone]:
            yield document.problem(loc, f"'{recipe}' is not among the recipes of {backbone}")


def _rule_problems(rules: tuple[Rule, ...], document: Document, key: str) -> Iterator[str]:
    for index, rule in enumerate(rules):
        yield from _where_problems(rule.where, document, (key, index, "where"))
        if not rule.set.model_fields_set:
            yield document.problem((key, index, "set"), "sets nothing")


def _where_problems(where: Where, document: Document, loc: Loc) -> Iterator[str]:
    for kind in ("task", "dataset", "backbone"):
        for name in getattr(where, kind) or ():
            yield from _attempt(document, (*loc, kind), catalog.find, kind, name)
    for stage in where.stage or ():
        yield from _attempt(document, (*loc, "stage"), _runnable, stage)
