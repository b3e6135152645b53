"""What a full examination found: a verdict for each trial, and the report as JSON.

    {"healthy": bool,                    every trial is ok
     "interrupted": bool,
     "host": {"system", "kernel", "python", "cores", "memory_mib"},
     "engine": {"version", "storage_driver", …},   the fields of EngineInfo; {} where no engine answered
     "accelerator": {"accelerator", "reason", "seconds"},   {} where no node image was there to try
     "checks": [{"name", "status", "found", "advice"}],
     "trials": [{"name", "verdict", "seconds", "detail", "code"}],
     "seconds": float}

`verdict` is `ok`, `failed` or `not run`. `code` is null where the verdict is `ok`; else one of errors.py, one that the
API answered with, or one of the trials' own (TrialFailed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from dayfly.doctor.checks import Check

Verdict = Literal["ok", "failed", "not run"]
INTERRUPTED_EXIT_CODE = 130


class TrialFailed(Exception):
    """A promise did not hold. `code` is stable; `evidence` maps a short name to text, and never holds a secret."""

    def __init__(self, code: str, message: str, *, evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.evidence: Mapping[str, str] = dict(evidence or {})


@dataclass(frozen=True)
class TrialResult:
    """How one trial ended. `detail` is a sentence for a person; `code` says why it is not ok."""

    name: str
    verdict: Verdict
    seconds: float
    detail: str
    code: str | None = None


@dataclass(frozen=True)
class Report:
    """The whole examination; the fields are those of the JSON document above."""

    host: Mapping[str, object]
    engine: Mapping[str, object]
    accelerator: Mapping[str, object]
    checks: tuple[Check, ...]
    trials: tuple[TrialResult, ...]
    seconds: float
    interrupted: bool = False
    healthy: bool = field(init=False)

    def __post_init__(self) -> None:
        healthy = bool(self.trials) and all(trial.verdict == "ok" for trial in self.trials)
        object.__setattr__(self, "healthy", healthy and not self.interrupted)

    @property
    def exit_code(self) -> int:
        """0 only if every trial is ok."""
        if self.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 0 if self.healthy else 1

    def as_json(self) -> Mapping[str, object]:
        """The document that the module's docstring describes."""
        return {
            "healthy": self.healthy,
            "interrupted": self.interrupted,
            "host": dict(self.host),
            "engine": dict(self.engine),
            "accelerator": dict(self.accelerator),
            "checks": [asdict(check) for check in self.checks],
            "trials": [asdict(trial) for trial in self.trials],
            "seconds": self.seconds,
        }
