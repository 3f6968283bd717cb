"""From a recipe's name to the stages that it is made of: ``mae+mtp`` → mae, then mtp."""

from collections.abc import Mapping

from mtp_bench import catalog
from mtp_bench.errors import UserError, nearest
from mtp_bench.suite.schema import CustomRecipe

LONGEST = 20


def expand(recipe: str, custom: Mapping[str, CustomRecipe]) -> tuple[str, ...]:
    """The stages of a recipe, names for chains resolved; ``scratch`` is the empty chain."""
    stages = _flatten(recipe, custom, ())
    for index, stage in enumerate(stages):
        if stages.index(stage) != index:
            raise UserError(f"stage '{stage}' stands twice in '{recipe}'")
        base = base_of(stage, custom)
        first = base is None or bool(catalog.find("recipe stage", base).facts.get("first"))
        if first and index > 0:
            where = f"it must be the first stage of '{recipe}'"
            raise UserError(f"'{stage}' gives first weights: {where}")
        if not first and index == 0:
            raise UserError(f"'{stage}' goes on from weights: write imp+{stage} or mae+{stage}")
    if "scratch" in stages:
        if len(stages) > 1:
            raise UserError(f"'scratch' stands alone: '{recipe}' goes on from nothing")
        return ()
    return stages


def base_of(stage: str, custom: Mapping[str, CustomRecipe]) -> str | None:
    """The stage of ours that a stage is, or is a variant of; None for weights of the user's."""
    return custom[stage].stage if stage in custom else stage


def runs_on(stage: str, custom: Mapping[str, CustomRecipe]) -> str | None:
    """The dataset of a stage's own training; None where it is loaded."""
    base = base_of(stage, custom)
    return catalog.find("recipe stage", base).facts.get("runs_on") if base else None


def _flatten(
    recipe: str, custom: Mapping[str, CustomRecipe], trail: tuple[str, ...]
) -> tuple[str, ...]:
    if len(trail) > LONGEST:
        raise UserError(f"the chain of '{trail[0]}' is too long")
    if recipe in trail:
        raise UserError(f"the chain goes in a circle: {' → '.join([*trail, recipe])}")
    stages: list[str] = []
    for part in recipe.split("+"):
        if part in custom:
            chain = custom[part].chain
            stages += [part] if chain is None else _flatten(chain, custom, (*trail, part))
        else:
            known = [*catalog.names("recipe stage"), *custom]
            if part not in known:
                raise UserError(f"unknown recipe stage '{part}': {nearest(part, known)}")
            stages.append(part)
    return tuple(stages)
