"""Why a trial failed, as a code, a sentence and evidence: one form for the errors of all layers."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from dayfly.client import ApiError, ClusterFailed, Unreachable
from dayfly.doctor.full.report import TrialFailed
from dayfly.errors import DayflyError


@dataclass(frozen=True)
class Fault:
    """`code` is stable, `message` one sentence; `evidence` maps a short name to text."""

    code: str
    message: str
    evidence: Mapping[str, str] = field(default_factory=dict)


INTERRUPTED: Final = Fault("interrupted", "the examination was interrupted")


def fault_of(error: BaseException) -> Fault:
    """The fault for a trial's error. An unexpected error is a defect, with its traceback as evidence."""
    match error:
        case TrialFailed():
            return Fault(error.code, error.message, error.evidence)
        case DayflyError():
            return Fault(error.code, error.for_operator, error.evidence)
        case ApiError():
            return Fault(error.code, error.detail, {"problem": str(dict(error.problem))})
        case ClusterFailed():
            reported = error.cluster.error
            return Fault(reported.code if reported else "not_ready", str(error))
        case Unreachable() | httpx.HTTPError():
            ours = isinstance(error, Unreachable)
            return Fault("unreachable" if ours else "http_failed", f"{type(error).__name__}: {error}")
        case _:
            text = "".join(traceback.format_exception(error))
            return Fault("internal", f"{type(error).__name__}: {error}", {"traceback": text})
