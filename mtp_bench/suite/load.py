"""Suites and protocols from YAML: all that is wrong with a file, as ``file:line:column: …``."""

from __future__ import annotations

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
from mtp_bench.suite.schema import ProtocolFile, Rule, Suite
from mtp_bench.suite.strict_yaml import Document, Loc

_PLACE = re.compile(r":\d+:\d+: ")
M = TypeVar("M", bound=BaseModel)
SHOWN = 80
PROTOCOL_FOLDER = Path(__file__).resolve().parent.parent / "protocols"


@dataclass(frozen=True)
class LoadedSuite:
    """A suite, its protocol, and the places to point at."""

    suite: Suite
    protocol: ProtocolFile
    document: Document

    @property
    def name(self) -> str:
        return self.suite.name


def load_suite(path: Path) -> LoadedSuite:
    """Read and check a suite. ``UserError`` holds every problem of the file, one a line."""
    if not path.exists():
        known = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = nearest(str(path), known) if known else "give the path of a suite's YAML file"
        raise UserError(f"{path}: no such suite: {hint}")
    document = strict_yaml.read(path)
    suite = validate(document, Suite)
    problems = list(_suite_problems(suite, document))
    protocol: ProtocolFile | None = None
    try:
        protocol = load_protocol(suite.protocol, path.parent)
    except UserError as error:
        lines = error.lines
        problems += [
            line if _PLACE.search(line) else document.problem(("protocol",), line) for line in lines
        ]
    if problems or protocol is None:
        raise UserError(*problems)
    return LoadedSuite(suite, protocol, document)


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
        deepest = [e for e in errors if not any(_below(other["loc"], e["loc"]) for other in errors)]
        deepest.sort(key=lambda e: document.mark(_real_loc(document.data, e["loc"]), at_key=True))
        raise UserError(*dict.fromkeys(_line(document, model, e) for e in deepest)) from None


def _below(loc: Loc, other: Loc) -> bool:
    return len(loc) > len(other) and loc[: len(other)] == other


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
    words: dict[str, Callable[[], str]] = {
        "literal_error": lambda: f"must be {context['expected']}, not {given}",
        "bool_type": lambda: f"must be true or false, not {given}",
        "int_type": lambda: f"must be a whole number, not {given}",
        "float_type": lambda: f"must be a number, not {given}",
        "string_type": lambda: f"must be a word, not {given}",
        "tuple_type": lambda: f"must be a list, not {given}",
        "dict_type": lambda: f"must be a mapping, not {given}",
        "model_type": lambda: f"must be a mapping, not {given}",
        "too_short": lambda: "must not be empty",
        "string_too_short": lambda: "must not be empty",
        "string_pattern_mismatch": lambda: f"must have the form {context['pattern']}, not {given}",
        "value_error": lambda: str(context.get("error", error["msg"])),
    }
    message = words[kind]() if kind in words else f"{_lower(error['msg'])}, not {given}"
    return document.problem(loc, message)


def _lower(message: str) -> str:
    return message.replace("Input should be", "must be").replace("Value should", "must")


def _real_loc(data: Any, loc: Loc) -> Loc:
    """Pydantic's location without the union branches, which are not in the file."""
    real: list[str | int] = []
    here = data
    for index, part in enumerate(loc):
        if isinstance(here, dict):
            if part not in here and index < len(loc) - 1:
                continue
            here = here.get(part)
        elif isinstance(here, list):
            if not isinstance(part, int) or part >= len(here):
                continue
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
    yield from _recipe_problems(suite, document)
    yield from _grid_problems(suite, document)
    yield from _weights_problems(suite, document)
    yield from _baseline_problems(suite, document)
    yield from _rule_problems(suite.overrides, document, "overrides")
    used: dict[str, list[str]] = {
        "backbone": list(suite.backbones),
        "dataset": list(suite.datasets or ()),
        "task": list(suite.tasks or ()),
    }
    for index, rule in enumerate(suite.overrides):
        for key, names in used.items():
            for name in getattr(rule.where, key) or () if names else ():
                if name not in names:
                    loc = ("overrides", index, "where", key)
                    yield document.problem(loc, f"'{name}' is not in this suite")


def _recipe_problems(suite: Suite, document: Document) -> Iterator[str]:
    for name in suite.recipes:
        loc = ("recipes", name)
        if name in catalog.names("recipe stage"):
            yield document.problem(loc, "this name is taken: choose another", at_key=True)
        yield from _attempt(document, loc, expand, name, suite.recipes)
        recipes = [recipe for used in suite.backbones.values() for recipe in used]
        chains = [recipe.chain or "" for recipe in suite.recipes.values()]
        if not any(name in text.split("+") for text in (*recipes, *chains)):
            yield document.problem(loc, "no backbone uses this recipe", at_key=True)


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
        if backbone not in suite.backbones:
            hint = nearest(backbone, list(suite.backbones))
            yield document.problem(
                ("weights", backbone), f"not a backbone of this suite: {hint}", at_key=True
            )
            continue
        for recipe in files:
            loc = ("weights", backbone, recipe)
            used = suite.backbones[backbone]
            try:
                wanted = expand(recipe, suite.recipes)
                chains = [expand(r, suite.recipes)[: len(wanted)] for r in used]
            except UserError:
                continue  # told where the recipe is named
            if not wanted:
                yield document.problem(loc, "'scratch' takes no weights", at_key=True)
            elif wanted not in chains:
                hint = nearest(recipe, list(used))
                yield document.problem(
                    loc, f"no recipe of this backbone uses it: {hint}", at_key=True
                )


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
        for kind in ("task", "dataset", "backbone"):
            loc = (key, index, "where", kind)
            for name in getattr(rule.where, kind) or ():
                yield from _attempt(document, loc, catalog.find, kind, name)
        if not rule.set.model_fields_set:
            yield document.problem((key, index, "set"), "sets nothing")
