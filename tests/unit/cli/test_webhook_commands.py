"""`dayfly webhook …`, with a deliverer behind the server and a receiver on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from typer.testing import Result

from dayfly.client import Client
from tests.support.receiver import Receiver, answer, receiving

Dayfly = Callable[..., Result]


@pytest.fixture(autouse=True)
def _silent_deliverer() -> Iterator[None]:
    """The server is a thread of this process, and its log is no output of a command."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with in_thread() as found:
        yield found


@contextmanager
def in_thread() -> Iterator[Receiver]:
    """A receiver with an event loop of its own: commands block that of the test."""
    found: list[Receiver] = []
    listening = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with receiving() as receiver:
            found.append(receiver)
            listening.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    try:
        assert listening.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.fixture(autouse=True)
def _no_webhook_is_left(url: str) -> Iterator[None]:
    yield
    with Client(url) as client:
        for webhook in client.webhooks():
            client.delete_webhook(webhook.id)


def allowed(dayfly: Dayfly, receiver: Receiver, *more: str) -> tuple[str, str]:
    """A new webhook; its id and secret. The API refuses the address, and the deliverer calls it: so by a name."""
    done = dayfly("webhook", "create", f"http://localhost:{receiver.port}/", *more)
    assert done.exit_code == 0, done.output
    found = re.fullmatch(r"webhook (\w+) is created; its secret, which is not shown again:\n(whsec_\S+)\n", done.stdout)
    assert found, done.stdout
    return found[1], found[2]


def shown(dayfly: Dayfly, *command: str) -> Any:
    done = dayfly(*command, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_create_test_and_delete(dayfly: Dayfly, receiver: Receiver) -> None:
    webhook, secret = allowed(dayfly, receiver, "--event", "ready", "--event", "failed", "--description", "CI")
    tested = dayfly("webhook", "test", webhook)
    assert tested.exit_code == 0, tested.output
    assert re.fullmatch(r"the receiver answered 204 in .+\n", tested.stdout)
    [call] = receiver.calls
    assert call.is_signed_with(secret)
    header, line = dayfly("webhook", "list").stdout.splitlines()
    assert header.split() == ["ID", "URL", "EVENTS", "STATE", "AGE"]
    assert line.split()[:4] == [webhook, f"http://localhost:{receiver.port}/", "ready,failed", "enabled"]
    header, line = dayfly("webhook", "deliveries", webhook).stdout.splitlines()
    assert header.split() == ["ID", "TYPE", "CLUSTER", "STATE", "ATTEMPTS", "LAST", "ATTEMPT", "AGE"]
    assert line.split()[1:6] == ["test", "-", "delivered", "1", "204"]
    assert shown(dayfly, "webhook", "deliveries", webhook, "--state", "dead") == []
    assert len(shown(dayfly, "webhook", "deliveries", webhook, "--limit", "1")) == 1
    assert dayfly("webhook", "delete", webhook).stdout == f"webhook {webhook} is deleted\n"
    assert dayfly("webhook", "delete", webhook).exit_code != 0
    assert dayfly("webhook", "delete", webhook, "--ignore-not-found").exit_code == 0
    assert dayfly("webhook", "list", "--output", "name").stdout == ""


def test_a_test_that_fails_has_the_code_and_the_reason(dayfly: Dayfly, receiver: Receiver) -> None:
    receiver.answer = answer(500, b"oops")
    webhook, _ = allowed(dayfly, receiver)
    done = dayfly("webhook", "test", webhook)
    assert done.exit_code == 7
    assert f"error [webhook_refused]: the test of webhook {webhook} failed: the receiver answered 500" in done.stderr
    assert "500 webhook_refused" in dayfly("webhook", "deliveries", webhook).stdout


def test_a_cluster_is_told(dayfly: Dayfly, receiver: Receiver, url: str) -> None:
    webhook, secret = allowed(dayfly, receiver, "--event", "ready")
    with Client(url) as client:
        cluster = client.create("told", image="bare")
        client.wait_ready(cluster.id)
        for _ in range(100):
            if receiver.calls:
                break
            threading.Event().wait(0.1)
    [call] = receiver.calls
    assert call.is_signed_with(secret)
    assert call.message["data"]["cluster"]["name"] == "told"
    [delivery] = shown(dayfly, "webhook", "deliveries", webhook)
    assert delivery["cluster_id"] == cluster.id


def test_json_has_the_secret_and_a_repeated_request_has_none(dayfly: Dayfly, receiver: Receiver) -> None:
    command = ("webhook", "create", f"http://localhost:{receiver.port}/", "--idempotency-key", "k")
    made = shown(dayfly, *command)
    assert made["secret"].startswith("whsec_")
    again = dayfly(*command)
    assert again.stdout == f"webhook {made['id']} was created before, and its secret shown then\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("create", "ftp://ci.example/"), "invalid_request"),
        (("create", "http://10.0.0.1/"), "invalid_request"),
        (("test", "0"), "not_found"),
        (("deliveries", "0"), "not_found"),
        (("delete", "0"), "not_found"),
    ],
)
def test_what_is_refused_is_one_line(dayfly: Dayfly, command: tuple[str, ...], code: str) -> None:
    done = dayfly("webhook", *command)
    assert done.exit_code != 0
    assert f"error [{code}]: " in done.stderr


def test_an_event_that_does_not_exist(dayfly: Dayfly) -> None:
    assert dayfly("webhook", "create", "https://ci.example/", "--event", "melting").exit_code == 2
