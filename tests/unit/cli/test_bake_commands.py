"""`dayfly bake …`, and the client's requests about bakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import Result

from dayfly.cli.bake_output import Progress
from dayfly.client import AsyncClient, BakeEventList, BakeFailed, BakeTimeout, Client
from tests.support.played_bakes import FAILURE, IMAGE
from tests.unit.images.test_orders import PLAIN

Dayfly = Callable[..., Result]
HANGS = "k8s-debian-conformance"


@pytest.fixture(autouse=True)
def _silent_builder() -> Iterator[None]:
    """The server is a thread of this process, and its builder's log is no output of a command."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


def shown(dayfly: Dayfly, *command: str) -> Any:
    done = dayfly(*command, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_create_and_wait(dayfly: Dayfly) -> None:
    done = dayfly("bake", "create", "bare", "--wait", "--owner", "team")
    assert done.exit_code == 0, done.output
    found = re.fullmatch(rf"bake (\w+) succeeded: {IMAGE.reference} is {IMAGE.id}\n", done.stdout)
    assert found, done.stdout
    bake = found[1]
    assert f"bake {bake} of bare: succeeded" in done.stderr
    header, line = dayfly("bake", "list", "--owner", "team").stdout.splitlines()
    assert header.split() == ["ID", "RECIPE", "OWNER", "PHASE", "TOOK", "AGE", "IMAGE"]
    assert line.split()[:4] == [bake, "bare", "team", "succeeded"]
    assert line.endswith(IMAGE.reference)
    text = dayfly("bake", "show", bake).stdout
    for part in (r"^recipe +bare$", r"^phase +succeeded$", r"^attempts +1$", rf"^image +{IMAGE.reference} \(sha256:"):
        assert re.search(part, text, re.MULTILINE), text
    assert shown(dayfly, "bake", "show", bake)["image_id"] == IMAGE.id
    assert dayfly("bake", "list", "--owner", "team", "--output", "name").stdout == f"{bake}\n"


def test_the_log(dayfly: Dayfly) -> None:
    bake = shown(dayfly, "bake", "create", "bare")["id"]
    followed = dayfly("bake", "events", bake, "--follow").stdout.splitlines()
    assert followed == dayfly("bake", "events", bake).stdout.splitlines()
    words = [line.partition("] ")[2] for line in followed]
    assert words == [
        "queued",
        "started",
        "step.cached base from the cache",
        "step.waiting node another bake is making it",
        "step.running node",
        "node TASK [node] \ufffd[0;32mok",
        "step.done node (1.5 s)",
        "succeeded",
    ]
    events = [json.loads(line) for line in dayfly("bake", "events", bake, "--json").stdout.splitlines()]
    assert [event["type"] for event in events][-2:] == ["step.done", "succeeded"]


def test_a_failure_has_its_code_and_evidence(dayfly: Dayfly) -> None:
    done = dayfly("bake", "create", "k8s-debian", "--wait", "--var", "kubernetes_version=v1.20.9")
    assert done.exit_code == 7
    found = re.search(r"error \[bake_failed\]: bake (\w+) of k8s-debian failed: (.*)\n", done.stderr)
    assert found, done.stderr
    assert found[2] == FAILURE
    assert f"hint: dayfly bake show {found[1]}" in done.stderr
    text = dayfly("bake", "show", found[1]).stdout
    assert "variables   kubernetes_version=v1.20.9" in text
    assert f"error [bake_failed]: {FAILURE}\n--- output\nfatal: [node]\nit broke" in text


def test_a_cancellation(dayfly: Dayfly) -> None:
    bake = shown(dayfly, "bake", "create", HANGS)["id"]
    waited = dayfly("bake", "show", bake, "--wait", "--timeout", "1s")
    assert (waited.exit_code, "error [wait_timeout]" in waited.stderr) == (6, True)
    assert "running: node" in waited.stderr
    done = dayfly("bake", "cancel", bake, "--wait")
    assert (done.exit_code, done.stdout) == (0, f"bake {bake} of {HANGS} is cancelled\n"), done.output
    assert dayfly("bake", "cancel", bake).stdout == f"bake {bake} of {HANGS} is cancelled\n"
    ended = dayfly("bake", "show", bake, "--wait")
    assert (ended.exit_code, "error [cancelled]" in ended.stderr) == (7, True)


def test_an_interrupted_wait_says_what_goes_on(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "bake_events", interrupted)
    done = dayfly("bake", "create", HANGS, "--wait")
    assert done.exit_code == 130
    found = re.search(r"error \[interrupted\]: the server goes on with bake (\w+)\n", done.stderr)
    assert found, done.stderr
    assert f"hint: dayfly bake cancel {found[1]}" in done.stderr
    dayfly("bake", "cancel", found[1])


def test_a_definition_is_a_file(dayfly: Dayfly, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(PLAIN))
    made = shown(dayfly, "bake", "create", "--definition", str(file))
    assert (made["recipe"], made["definition"]) == ("mine", PLAIN)
    dayfly("bake", "cancel", made["id"])
    for wrong in ("[", "name: 2020-01-01", "name: .nan", "name: &a [*a]", "name: !!set {a}", b"\xff", None):
        content = wrong.encode() if isinstance(wrong, str) else wrong
        file.unlink() if content is None else file.write_bytes(content)
        done = dayfly("bake", "create", "--definition", str(file))
        assert (done.exit_code, done.stderr.startswith("error [invalid_request]: ")) == (2, True), wrong
    file.write_text("- a\n")
    assert dayfly("bake", "create", "--definition", str(file)).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["create"], 2, "give either RECIPE or --definition"),
        (["create", "bare", "--var", "x"], 2, "NAME=VALUE"),
        (["create", "bare", "--var", "x=1", "--var", "x=2"], 2, "two values"),
        (["create", "bare", "--var", "x=1"], 2, "has no variable 'x'"),
        (["create", "k8s-debian", "--var", "kubernetes_version=3"], 2, "must be a string"),
        (["create", "k8s-debian", "--var", "kubernetes_version=NaN", "--var", "x=1"], 2, "has no variable 'x'"),
        (["create", "no-such"], 3, "no recipe"),
        (["show", "0123456789ab"], 3, "hint: dayfly bake list"),
        (["events", "0123456789ab"], 3, "no bake"),
        (["cancel", "0123456789ab"], 3, "no bake"),
        (["list", "--phase", "melting"], 2, "phase"),
    ],
)
def test_errors_are_one_line(dayfly: Dayfly, arguments: list[str], exit_code: int, said: str) -> None:
    done = dayfly("bake", *arguments)
    assert (done.exit_code, said in done.stderr) == (exit_code, True), done.output


def test_the_progress_names_steps_that_run_or_wait() -> None:
    def events(*found: tuple[str, str | None, str]) -> BakeEventList:
        rows = [
            {"id": 1, "at": "2026-01-01T00:00:00Z", "type": kind, "step": step, "message": message}
            | {"seconds": None, "code": None}
            for kind, step, message in found
        ]
        return BakeEventList.model_validate({"events": rows, "next_after": 1, "phase": "running"})

    progress = Progress()
    progress.read(events(("step.running", "base", ""), ("line", "base", "x"), ("step.waiting", "node", "another bake")))
    assert progress.describe("running") == "running: base, node waits: another bake"
    progress.read(events(("step.done", "base", ""), ("step.running", "node", "")))
    assert progress.describe("running") == "running: node"
    progress.read(events(("queued", None, "")))
    assert progress.describe("running") == "running"
    assert progress.describe("succeeded") == "succeeded"


def test_the_client_waits(url: str) -> None:
    with Client(url) as client:
        made = client.create_bake("bare", idempotency_key="k-1")
        assert client.create_bake("bare", idempotency_key="k-1").id == made.id
        ended = client.wait_bake(made.id, timeout_seconds=30)
        assert (ended.phase, ended.image) == ("succeeded", IMAGE.reference)
        assert [event.type for event in client.all_bake_events(made.id)][-1] == "succeeded"
        assert client.bake_events(made.id, after=2**40).events == ()
        assert made.id in {one.id for one in client.bakes(recipe="bare", phases=["succeeded"])}
        failing = client.create_bake("k8s-debian", variables={"kubernetes_version": "v1"}, owner="me")
        with pytest.raises(BakeFailed) as failed:
            client.wait_bake(failing.id, timeout_seconds=30)
        assert (failed.value.code, failed.value.bake.owner) == ("bake_failed", "me")
        hanging = client.create_bake(HANGS)
        with pytest.raises(BakeTimeout):
            client.wait_bake(hanging.id, timeout_seconds=0.1)
        client.cancel_bake(hanging.id)
        with pytest.raises(BakeFailed) as cancelled:
            client.wait_bake(hanging.id, timeout_seconds=30)
        assert cancelled.value.code == "cancelled"


async def test_the_asynchronous_client_waits(url: str) -> None:
    async with AsyncClient(url) as client:
        made = await client.create_bake("bare")
        assert (await client.wait_bake(made.id, timeout_seconds=30)).image_id == IMAGE.id
