"""Ctrl-C during a wait: the command prints what the server continues, how long that lives, and how to delete it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.cluster import interrupted, watch
from dayfly.client import Client, Cluster
from dayfly.schemas.base import FROM_SERVER
from tests.unit.client.test_lifetime import CLUSTER

Dayfly = Callable[..., Result]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the command waits for events."""

    def interrupted(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", interrupted)
    monkeypatch.setattr(Client, "_event_pages", interrupted)


@pytest.fixture
def interrupt_post(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the server has created the cluster, and before the command knows."""
    create, interrupted = Client.create, list[bool]()

    def late(client: Client, *arguments: Any, **options: Any) -> Cluster:
        created = create(client, *arguments, **options)
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return created

    monkeypatch.setattr(Client, "create", late)


@pytest.mark.usefixtures("interrupt_post")
def test_an_interrupted_request_says_how_to_find_its_cluster(dayfly: Dayfly) -> None:
    arguments = ("cluster", "create", "slow-perhaps", "--image", "bare")
    done = dayfly(*arguments)
    assert done.exit_code == 130
    assert done.stderr.startswith("error [interrupted]: the cluster may have been created\n  hint: ")
    key = done.stderr.partition("--idempotency-key ")[2].split()[0]
    again = dayfly(*arguments, "--idempotency-key", key, "--output", "name")
    assert (again.exit_code, again.stdout) == (0, "slow-perhaps\n")


@pytest.mark.usefixtures("interrupt_post")
def test_an_interrupted_request_deletes_its_cluster(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-withdrawn", "--image", "bare", "--wait", "--delete-on-interrupt")
    assert (done.exit_code, done.stderr) == (130, "error [interrupted]: cluster slow-withdrawn is being deleted\n")


@pytest.mark.parametrize("deleted", [False, True])
def test_an_interrupt_while_the_kubeconfig_is_fetched(
    dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deleted: bool
) -> None:
    def interrupted(client: Client, cluster: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "kubeconfig", interrupted)
    name = f"fetched-{deleted}".lower()
    wanted = ("--image", "bare", "--ttl", "2h", "--kubeconfig", str(tmp_path / "config"))
    done = dayfly("cluster", "create", name, *wanted, *(["--delete-on-interrupt"] if deleted else []))
    assert done.exit_code == 130, done.output
    # As the cluster was after the wait: its time to live begins when it is ready.
    assert f"cluster {name} {'is being deleted' if deleted else 'is ready; it expires at '}" in done.stderr
    assert not (tmp_path / "config").exists()


@pytest.mark.usefixtures("interrupt")
def test_a_create_says_that_the_cluster_goes_on(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-interrupted", "--image", "bare", "--ttl", "2h", "--wait")
    assert done.exit_code == 130, done.output
    error, hint = done.stderr.splitlines()
    # Its worker may have taken it out of the queue before the request was answered.
    expected = (
        r"error \[interrupted\]: cluster slow-interrupted is (pending \(#1\)|provisioning); "
        "it expires 2 h 00 min after it is ready"
    )
    assert re.fullmatch(expected, error)
    assert hint == "  hint: dayfly cluster delete slow-interrupted"
    assert dayfly("cluster", "show", "slow-interrupted").exit_code == 0


def test_an_interrupt_tells_the_expiry_that_heartbeats_have_moved() -> None:
    """As after five minutes of a wait for a cluster with heartbeats of a minute."""
    began, now = datetime.now(UTC) - timedelta(minutes=5), datetime.now(UTC)
    looks: list[str] = []

    def seen(expires_at: datetime) -> dict[str, object]:
        end = {"expires_at": expires_at.isoformat(), "expires_because": "heartbeat", "heartbeat_interval_seconds": 60}
        return {**CLUSTER, "phase": "provisioning", **end}

    def answer(request: httpx.Request) -> httpx.Response:
        looks.append(request.url.path)
        if request.url.path.endswith("/heartbeat"):
            return httpx.Response(200, json={"heartbeat_interval_seconds": 60})
        if request.url.path.endswith("/events"):
            if looks.count(request.url.path) == 2:
                raise KeyboardInterrupt
            return httpx.Response(200, json={"events": [], "next_after": 0, "phase": "provisioning"})
        return httpx.Response(200, json=seen(now + timedelta(minutes=1)))

    cluster = Cluster.model_validate(seen(began), context=FROM_SERVER)
    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(CommandError) as caught:
        watch(client, cluster, "ready", 600)
    assert caught.value.detail.startswith("cluster demo is provisioning; it expires at ")
    assert caught.value.detail.endswith(", unless a heartbeat comes")


@pytest.mark.parametrize(
    ("fields", "sentence", "hint"),
    [
        (
            {"phase": "pending", "queue_position": 3, "ttl_seconds": 7200},
            "is pending (#3); it expires 2 h 00 min after it is ready",
            True,
        ),
        ({"phase": "ready", "desired": "hibernated"}, "is being hibernated; it never expires", True),
        ({"phase": "hibernated", "desired": "present"}, "is being resumed; it never expires", True),
        ({"phase": "ready", "paused": True}, "is not usable at the moment: its VMs are paused; it never expires", True),
        ({"phase": "ready", "desired": "absent"}, "is being deleted", False),
    ],
    ids=["queue", "hibernating", "resuming", "paused", "deleting"],
)
def test_an_interrupt_says_what_the_server_continues(fields: dict[str, object], sentence: str, hint: bool) -> None:
    error = interrupted(Cluster.model_validate({**CLUSTER, **fields}, context=FROM_SERVER))
    assert error.detail == f"cluster demo {sentence}"
    assert error.hint == ("dayfly cluster delete demo" if hint else None)
    assert error.exit_code == ExitCode.INTERRUPTED


@pytest.fixture
def interrupt_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the command looks at a checkpoint, template or pool."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for look in ("checkpoint", "template", "pool"):
        monkeypatch.setattr(Client, look, interrupted)


@pytest.mark.usefixtures("interrupt_looks")
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            ("template", "create", "--image", "bare"),
            r"template (?P<id>\S+) is being built; it lives until it is deleted, old or unused\n"
            r"  hint: dayfly template delete (?P=id)\n",
        ),
        (
            ("pool", "create", "spare", "--image", "bare", "--size", "0"),
            r"pool spare is being filled; it lives until it is deleted\n  hint: dayfly pool delete spare\n",
        ),
        (
            ("cluster", "checkpoint", "create", "saved-plain", "c"),
            r"checkpoint c is being created; it lives as long as cluster saved-plain, which never expires\n"
            r"  hint: dayfly cluster checkpoint delete saved-plain c\n",
        ),
        (
            ("cluster", "checkpoint", "create", "saved-ttl", "c"),
            r"checkpoint c is being created; it lives as long as cluster saved-ttl, which expires at [^\n]*\n"
            r"  hint: dayfly cluster checkpoint delete saved-ttl c\n",
        ),
        (
            ("cluster", "checkpoint", "create", "saved-beats", "c"),
            r"checkpoint c is being created; it lives as long as cluster saved-beats, which expires 1 min 00 s "
            r"after its last heartbeat\n  hint: dayfly cluster checkpoint delete saved-beats c\n",
        ),
    ],
    ids=lambda value: value[3] if isinstance(value, tuple) and value[0] == "cluster" else None,
)
def test_an_interrupted_wait_for_another_resource(dayfly: Dayfly, command: tuple[str, ...], sentence: str) -> None:
    for name, lifetime in (
        ("saved-plain", ()),
        ("saved-ttl", ("--ttl", "2h")),
        ("saved-beats", ("--heartbeat", "60s")),
    ):
        if name in command:
            made = dayfly("cluster", "create", name, "--image", "bare", "--wait", *lifetime)
            assert made.exit_code == 0, made.output
    done = dayfly(*command, "--wait")
    assert done.exit_code == 130
    assert re.search(rf"(?m)^error \[interrupted\]: {sentence}\Z", done.stderr), done.stderr


@pytest.mark.usefixtures("interrupt")
def test_delete_on_interrupt(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-dropped", "--image", "bare", "--wait", "--delete-on-interrupt")
    assert (done.exit_code, done.stderr) == (130, "error [interrupted]: cluster slow-dropped is being deleted\n")


@pytest.mark.usefixtures("interrupt")
def test_a_command_that_follows_ends_without_a_traceback(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "slow-followed", "--image", "bare")
    done = dayfly("cluster", "events", "slow-followed", "--follow")
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
