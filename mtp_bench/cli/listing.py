"""``list``: what there is."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from mtp_bench.cli.options import Json


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
        rows = [{"name": name} for name in catalog.PROTOCOLS]
    else:
        kind = "recipe stage" if what is What.recipes else what.value.removesuffix("s")
        rows = []
        for name in catalog.names(kind):
            entry = catalog.KINDS[kind].get(name) or catalog.find(kind, name)
            shown = f"{name}<model>" if name.endswith("/") else name
            facts = {
                k: str(v)
                for k, v in entry.facts.items()
                if k in ("task", "source", "runs_on", "short")
            }
            rows.append(
                {
                    "name": shown,
                    **facts,
                    "available": "yes" if entry.target else "not in this version",
                }
            )
    if as_json:
        print(json.dumps({what.value: rows}, indent=1))
        return
    for row in rows:
        print("  ".join(f"{value:24}" for value in row.values()).rstrip())
