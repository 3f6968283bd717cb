"""What the models of suites, jobs and records are made of: their base, and kinds of values."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)


class Model(BaseModel):
    """Frozen, strict, closed to unknown keys. Validate the JSON form: lists become tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("must be a path inside the weights folder (no leading '/', no '..')")
    return path


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
RGB = Annotated[tuple[float, float, float], Strict(False)]
"""Red, green, blue in 0..255. Lenient about list or tuple: a validator above hides the JSON."""
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


def exactly_one(*keys: str) -> Any:
    """A validator of a model: one of these keys is given, and no other."""

    def check(model: Any) -> Any:
        if sum(getattr(model, key) is not None for key in keys) != 1:
            *first, last = (f"'{key}'" for key in keys)
            raise ValueError(f"give exactly one of {', '.join(first)} and {last}")
        return model

    return model_validator(mode="after")(check)


def check_statistics(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Both or neither, and no deviation of 0."""
    if (mean is None) != (std is None):
        raise ValueError("give both 'mean' and 'std', or neither")
    if std is not None and min(std) <= 0:
        raise ValueError("'std' must be above 0")
