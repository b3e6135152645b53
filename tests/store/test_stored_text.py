"""Texts of guests in events, steps' details, faults and other messages: one line each, of bounded length."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.model import Fault, NewEvent, StepReport, StepState
from dayfly.domain.pool import PoolCondition
from dayfly.errors import MESSAGE_CHARACTERS
from dayfly.store import Store
from dayfly.store.db.mapping import event_columns, fault_columns, reason_columns, step_columns
from tests.store.helpers import claim_new

AT = datetime(2026, 1, 1, tzinfo=UTC)
WRITTEN: dict[str, Callable[[str], object]] = {
    "event": lambda text: event_columns(NewEvent("step.waiting", text))["message"],
    "step": lambda text: step_columns(StepReport("boot", None, StepState.RUNNING, 1, AT, detail=text))["detail"],
    "fault": lambda text: fault_columns(Fault("not_usable", text))["message"],
    "condition": lambda text: reason_columns(PoolCondition("capacity", text))["message"],
}


@pytest.mark.parametrize("where", WRITTEN)
def test_a_message_is_one_line_without_control_characters(where: str) -> None:
    forged = "refused\r\n[     9.0s] ready: it is not\n\u2028x\tb\x0b\x85\x1b[2J\x07\x00\x9b\x7fé"
    assert WRITTEN[where](forged) == "refused [     9.0s] ready: it is not  x b  �[2J����é"


@pytest.mark.parametrize("where", WRITTEN)
def test_a_message_has_a_bounded_length(where: str) -> None:
    whole = "x" * MESSAGE_CHARACTERS
    assert WRITTEN[where](whole) == whole
    assert WRITTEN[where](whole + "y" * 2**24) == "x" * (MESSAGE_CHARACTERS - 1) + "…"


async def test_so_is_the_reason_why_a_cluster_is_no_fork(store: Store) -> None:
    claim = await claim_new(store)
    begun = await store.provisioning.begin(claim, IMAGE, not_forked=f"its fork failed:\n{'x' * 2**16}")
    assert begun.not_forked is not None
    assert begun.not_forked.startswith("its fork failed: x")
    assert len(begun.not_forked) == MESSAGE_CHARACTERS
