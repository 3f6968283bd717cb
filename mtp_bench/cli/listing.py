"""``list``: what there is."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from mtp_bench.cli.options import Json
from mtp_bench.cli.tables import print_table

SHOWN = {
    "backbones": ("parameters", "strides", "channels", "weights"),
    "recipes": ("runs_on",),
    "datasets": ("task", "source"),
    "tasks": ("short",),
    "protocols": (),
}


class What(StrEnum):
    """The catalogues."""

    backbones = "backbones"
    recipes = "recipes"
    datasets = "datasets"
    tasks = "tasks"
    protocols = "protocols"


def list_names(what: Annotated[What, typer.Argument()], as_json: Json = False) -> None:
    """Names that a suite can use, with what is known of each beforehand."""
    from mtp_bench import catalog

    if what is What.protocols:
        rows: list[dict[str, Any]] = [{"name": name} for name in catalog.PROTOCOLS]
    else:
        rows = [_row(what, name) for name in catalog.names(_kind(what))]
    if as_json:
        print(json.dumps({what.value: rows}, indent=1))
        return
    print_table([list(rows[0]), *([_text(key, row[key]) for key in row] for row in rows)])


def _kind(what: What) -> str:
    return "recipe stage" if what is What.recipes else what.value.removesuffix("s")


def _row(what: What, name: str) -> dict[str, Any]:
    from mtp_bench import catalog

    kind = _kind(what)
    entry = catalog.KINDS[kind].get(name) or catalog.find(kind, name)
    shown = f"{name}<model>" if name.endswith("/") else name
    facts = {key: entry.facts.get(key) for key in SHOWN[what.value]}
    available = entry.target is not None or catalog.has_code(kind, name)
    return {"name": shown, **facts, "available": available}


def _text(key: str, value: Any) -> str:
    if key == "parameters" and value is not None:
        return f"{value:g} M"
    if key == "available":
        return "yes" if value else "not in this version"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value) if value else "-"
