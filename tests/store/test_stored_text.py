"""Guests' texts in events have no control characters."""

from __future__ import annotations

from dayfly.domain.cluster.model import NewEvent
from dayfly.store.db.mapping import event_columns


def test_an_event_has_no_control_characters() -> None:
    columns = event_columns(NewEvent("step.waiting", "a\tb\n\x1b[2J\x07\x00\x9b\x7fé"))
    assert columns["message"] == "a\tb\n�[2J����é"
