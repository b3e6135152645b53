"""Stored values of public names that were renamed: one table a kind of name, present name → stored value.

Rows keep the older value. Workers of the version before read and write the same rows until they are stopped, and
indices have some of these values in their conditions; so no migration rewrites them, and a row has one value whichever
version wrote it. Everything above store/db knows the present names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Dialect, String, TypeDecorator

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.model import Purpose
from dayfly.vocabulary import TemplatePhase

Renames = Mapping[str, str]

CODES: Final[Renames] = {
    "engine_unavailable": "docker_unavailable",
    "insufficient_capacity": "no_room",
    "template_building": "template_making",
}
"""Codes of errors, and of what keeps a pool from being filled."""
STEPS: Final[Renames] = {
    "personalize": "identify",
    "remove_stale": "clear",
    "restore": "load",
    "smoke_test": "smoke",
    "snapshot": "save",
}
PURPOSES: Final[Renames] = {Purpose.VERIFICATION: "trial", Purpose.POOL_MEMBER: "member"}
TEMPLATE_PHASES: Final[Renames] = {
    TemplatePhase.BUILDING: "making",
    TemplatePhase.RETIRING: "retired",
    TemplatePhase.RETIRED: "gone",
}
CHECKPOINT_PHASES: Final[Renames] = {CheckpointPhase.CREATING: "making"}


def stored(names: Renames, name: str) -> str:
    """The value that rows have for `name`."""
    return names.get(name, name)


def present(names: Renames, value: str) -> str:
    """The name that `value`, as a row has it, stands for."""
    return next((name for name, old in names.items() if old == value), value)


class StoredName(TypeDecorator[str]):
    """A text column whose values `names` translates, in both directions and in comparisons."""

    impl = String
    cache_ok = True

    def __init__(self, length: int, names: Renames) -> None:
        super().__init__(length)
        self.names = tuple(sorted(names.items()))  # hashable, for SQLAlchemy's cache of statements

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else stored(dict(self.names), value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else present(dict(self.names), value)
