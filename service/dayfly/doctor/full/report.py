"""The report of a full examination: a verdict for each trial, also as JSON.

    {"healthy": bool,                    every trial is ok
     "interrupted": bool,
     "host": {"system", "kernel", "python", "cores", "memory_mib"},
     "engine": {"version", "storage_driver", …},   the fields of EngineInfo; {} where no engine answered
     "accelerator": {"accelerator", "reason", "seconds", "remembered"},   {} where there was no node image for a test
     "checks": [{"name", "status", "found", "advice"}],
     "trials": [{"name", "verdict", "seconds", "detail", "code"}],
     "seconds": float}

`verdict` is `ok`, `failed` or `not run`. `code` is null where the verdict is `ok`; else a code of errors/, of an API
answer, or of a trial (TrialFailed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dayfly.doctor.checks import Check

Verdict = Literal["ok", "failed", "not run"]
INTERRUPTED_EXIT_CODE = 130


class TrialFailed(Exception):
    """A trial found a defect. `code` is stable; `evidence` maps a short name to text, and never holds a secret."""

    def __init__(self, code: str, message: str, *, evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.evidence: Mapping[str, str] = dict(evidence or {})


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial. `detail` is a sentence for people; `code` is the reason of a verdict that is not ok."""

    name: str
    verdict: Verdict
    seconds: float
    detail: str
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of the examination: the fields of the JSON document above, in its order."""

    healthy: bool = field(init=False)
    interrupted: bool = False
    host: Mapping[str, object]
    engine: Mapping[str, object]
    accelerator: Mapping[str, object]
    checks: tuple[Check, ...]
    trials: tuple[TrialResult, ...]
    seconds: float

    def __post_init__(self) -> None:
        healthy = bool(self.trials) and all(trial.verdict == "ok" for trial in self.trials)
        object.__setattr__(self, "healthy", healthy and not self.interrupted)

    @property
    def exit_code(self) -> int:
        """0 only if every trial is ok."""
        if self.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 0 if self.healthy else 1
