"""The record of one kind of cluster: which specs there are, and the result of each that ran. Kept as JSON.

A record is of images baked of the same inputs, and of one build of the programs: results of others are not mixed with
them. A run may go on on another host, which bakes the same image anew. Not here: the record's table (table.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tests.conformance.junit import Outcome

Kind = Literal["cold", "fork"]
KINDS: tuple[Kind, ...] = ("cold", "fork")


class OtherRecord(Exception):
    """The record in the file is of another image, or of another build of the programs."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpecResult(_Data):
    """How a spec ended; `reason` of those that did not pass."""

    outcome: Outcome
    seconds: float
    reason: str = ""
    at: datetime


class Subject(_Data):
    """What was tested: clusters of `kind` of the image of this bake, by programs of this key."""

    kind: Kind
    image: str
    kubernetes: str
    programs: str


class Record(_Data):
    """`specs` are all conformance specs of the programs, in order."""

    subject: Subject
    specs: tuple[str, ...]
    results: dict[str, SpecResult] = {}

    def unfinished(self, specs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(spec for spec in specs if spec not in self.results)

    def not_passed(self, specs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(spec for spec in specs if spec not in self.results or self.results[spec].outcome != "passed")


class RecordFile:
    """A record and its file, which is complete after each result: a run that was interrupted is resumed from it."""

    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self.record = record

    @classmethod
    def open(cls, path: Path, subject: Subject, specs: tuple[str, ...], *, again: str | None = None) -> RecordFile:
        """The record at `path`, or a new one. `again`: "failed" drops results of specs that did not pass, "all" all.

        Raises OtherRecord, unless all is run again.
        """
        if not path.exists() or again == "all":
            return cls(path, Record(subject=subject, specs=specs))
        old = Record.model_validate_json(path.read_text())
        if old.subject != subject or old.specs != specs:
            raise OtherRecord(
                f"{path} has results of {old.subject.image} by the programs {old.subject.programs}; "
                f"this run is of {subject.image} by {subject.programs}. Give another folder, or --again all"
            )
        kept = {name: result for name, result in old.results.items() if again is None or result.outcome == "passed"}
        return cls(path, old.model_copy(update={"results": kept}))

    def add(self, spec: str, result: SpecResult) -> None:
        self.record = self.record.model_copy(update={"results": {**self.record.results, spec: result}})
        temporary = self._path.with_suffix(".new")
        temporary.write_text(self.record.model_dump_json(indent=2, exclude_defaults=True) + "\n")
        temporary.replace(self._path)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
