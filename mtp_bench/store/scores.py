"""Figures that servers gave: ``results/scores/<job>.json``, beside the records and not in them."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, write_atomically
from mtp_bench.store.paths import score_path
from mtp_bench.store.records import Record
from mtp_bench.suite.fields import Model, Sha256


class Score(Model):
    """What a server said of the predictions of one record."""

    version: Literal[1] = Field(default=1, alias="schema")
    job: str
    metric: str
    value: Annotated[float, Field(ge=0, le=100)]
    unit: str
    source: Annotated[str, Field(min_length=1)]
    """Where it was said, and when, in the user's words."""
    noted: str
    """Date."""
    record_sha256: Sha256


def digest(record: Path) -> str:
    """SHA-256 of a record's file: a job that ran again has other predictions."""
    return hashlib.sha256(record.read_bytes()).hexdigest()


def read_score(path: Path, record: Record) -> Score | None:
    """The score of the record at ``path``; None where none was noted.

    Raises:
        UserError: it is damaged, of another job or metric, or of an earlier record of the job.
    """
    place, fix = score_path(path), "note it again: 'mtp-bench score', with --replace"
    try:
        score = Score.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{place}: {where}: {first['msg']}: {fix}") from None
    if (score.job, score.metric) != (record.job, record.primary):
        raise UserError(f"{place}: holds {score.metric} of {score.job}: {fix}")
    if score.record_sha256 != digest(path):
        raise UserError(f"{place}: is of an earlier record of the job: {fix}")
    return score


def write_score(path: Path, score: Score) -> None:
    """Leave the score of the record at ``path``."""
    place = score_path(path)
    make_folder(place.parent)
    write_atomically(place, f"{score.model_dump_json(by_alias=True, indent=1)}\n")
