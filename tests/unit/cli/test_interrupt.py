"""Ctrl-C during a wait: the cluster goes on, and the command says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from dayfly.client import Client

Dayfly = Callable[..., Result]


@pytest.fixture(autouse=True)
def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the command waits for events."""

    def interrupted(client: Client, cluster: str, *, after: int = 0, wait_seconds: float = 0.0) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", interrupted)


def test_a_create_says_that_the_cluster_goes_on(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-interrupted", "--image", "bare", "--ttl", "2h", "--wait")
    assert done.exit_code == 130, done.output
    expected = "error [interrupted]: cluster slow-interrupted goes on and expires 2 h 00 min after it is ready"
    assert done.stderr.splitlines() == [expected, "  hint: dayfly cluster delete slow-interrupted"]
    assert dayfly("cluster", "show", "slow-interrupted").exit_code == 0


def test_delete_on_interrupt(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-dropped", "--image", "bare", "--wait", "--delete-on-interrupt")
    assert (done.exit_code, done.stderr) == (130, "error [interrupted]: cluster slow-dropped is being deleted\n")


def test_a_command_that_follows_ends_without_a_traceback(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "slow-followed", "--image", "bare")
    done = dayfly("cluster", "events", "slow-followed", "--follow")
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
