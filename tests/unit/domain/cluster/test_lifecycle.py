"""The transition table."""

from __future__ import annotations

import itertools

import pytest

from dayfly.domain.cluster.lifecycle import TRANSITIONS, Phase, check_transition
from dayfly.errors import Internal


def test_only_what_the_table_has_is_allowed() -> None:
    for old, new in itertools.product(Phase, Phase):
        if (old, new) in TRANSITIONS:
            check_transition(old, new)
        else:
            with pytest.raises(Internal):
                check_transition(old, new)


def test_from_every_phase_deleted_can_be_reached_and_from_deleted_nothing() -> None:
    reached = {Phase.DELETED}
    for _ in Phase:
        reached |= {old for old, new in TRANSITIONS if new in reached}
    assert reached == set(Phase)
    assert not [new for old, new in TRANSITIONS if old is Phase.DELETED]
