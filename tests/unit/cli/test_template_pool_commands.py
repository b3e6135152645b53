"""`dayfly cluster reset | hibernate | resume | checkpoint`, `dayfly template`, `dayfly pool`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import Result

from dayfly.cli import template_pool_output
from dayfly.cli.formatting import format_size
from dayfly.cli.pool import parse_schedule
from dayfly.client import Checkpoint, Client, Cluster, Pool, Step, Template, sync_connection
from dayfly.schemas.base import FROM_SERVER

Dayfly = Callable[..., Result]


def shown(dayfly: Dayfly, *command: str) -> Any:
    done = dayfly(*command, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def until(look: Callable[[], bool]) -> None:
    """Give the server's worker, which is a thread, the time it needs."""
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_reset_and_wait(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "again", "--image", "bare", "--wait")
    done = dayfly("cluster", "reset", "again", "--wait")
    assert (done.exit_code, done.stdout) == (0, "again is ready\n"), done.output
    assert "generation  2" in dayfly("cluster", "show", "again").stdout
    missing = dayfly("cluster", "reset", "again", "--to", "nothing")
    assert (missing.exit_code, missing.stderr.startswith("error [not_found]: ")) == (3, True)
    assert shown(dayfly, "cluster", "reset", "again")["generation"] == 3


def test_hibernate_and_resume(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "sleepy", "--image", "bare", "--wait", "--idle", "90s", "--isolation", "strict")
    text = dayfly("cluster", "show", "sleepy").stdout
    assert re.search(r"^idle +hibernates after 1 min 30 s without traffic$", text, re.MULTILINE)
    assert re.search(r"^isolation +strict$", text, re.MULTILINE)
    assert dayfly("cluster", "idle", "sleepy", "--never").stdout == "sleepy hibernates only on request\n"
    assert shown(dayfly, "cluster", "idle", "sleepy", "--after", "2m")["idle_seconds"] == 120
    told = dayfly("cluster", "idle", "sleepy", "--after", "30m").stdout
    assert told == "sleepy hibernates after 30 min 00 s without traffic\n"
    assert dayfly("cluster", "idle", "sleepy").exit_code == 2
    assert dayfly("cluster", "idle", "sleepy", "--never", "--after", "2m").exit_code == 2
    done = dayfly("cluster", "hibernate", "sleepy", "--wait")
    assert (done.exit_code, done.stdout) == (0, "sleepy is hibernated\n"), done.output
    assert dayfly("cluster", "show", "sleepy", "--wait", "hibernated").exit_code == 0
    for command in ("ssh", "registry"):
        asleep = dayfly("cluster", command, "sleepy")
        assert asleep.exit_code == 4
        assert asleep.stderr.endswith("is hibernated\n  hint: dayfly cluster resume sleepy --wait\n")
    began = time.monotonic()
    done = dayfly("cluster", "resume", "sleepy", "--wait")
    since_request = time.monotonic() - began
    assert (done.exit_code, done.stdout) == (0, "sleepy is ready\n"), done.output
    # Counted from the request for the resume, not from the creation before it. They are rounded to a tenth.
    for seconds in re.findall(r"^\[ *(\S+)s\]", done.stderr, re.MULTILINE):
        assert 0 <= float(seconds) <= since_request + 0.05, done.stderr
    assert shown(dayfly, "cluster", "hibernate", "sleepy")["desired"] == "hibernated"


def test_one_that_cannot_go_to_sleep(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "awake", "--image", "bare", "--wait")
    done = dayfly("cluster", "show", "awake", "--wait", "hibernated")
    assert done.exit_code == 7
    assert done.stderr.startswith("error [not_hibernated]: ")
    dayfly("cluster", "create", "slow-asleep", "--image", "bare")
    refused = dayfly("cluster", "hibernate", "slow-asleep")
    assert (refused.exit_code, refused.stderr.startswith("error [not_ready]: ")) == (4, True)


def test_checkpoints(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "saved", "--image", "bare", "--wait")
    assert dayfly("cluster", "checkpoint", "create", "saved", "before").stdout == "checkpoint before is being created\n"
    until(lambda: shown(dayfly, "cluster", "checkpoint", "list", "saved")[0]["phase"] == "ready")
    header, line = dayfly("cluster", "checkpoint", "list", "saved").stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "SIZE", "AGE"]
    assert line.split()[:4] == ["before", "ready", "130", "MiB"]
    done = dayfly("cluster", "reset", "saved", "--to", "before", "--wait")
    assert (done.exit_code, done.stdout) == (0, "saved is ready\n"), done.output
    assert dayfly("cluster", "checkpoint", "delete", "saved", "before").stdout == "checkpoint before is being deleted\n"
    until(lambda: shown(dayfly, "cluster", "checkpoint", "list", "saved") == [])
    gone = dayfly("cluster", "checkpoint", "delete", "saved", "before").stderr
    assert gone.endswith("hint: dayfly cluster checkpoint list NAME\n")


def test_templates(dayfly: Dayfly) -> None:
    shape = ("--image", "bare", "--workers", "1", "--worker-memory-mib", "300", "--owner", "saving")
    made = shown(dayfly, "template", "create", *shape)
    assert (made["owner"], made["workers"]["memory_mib"]) == ("saving", 300)
    until(lambda: shown(dayfly, "template", "show", made["id"])["phase"] == "ready")
    header, line = dayfly("template", "list", "--owner", "saving").stdout.splitlines()
    assert header.split() == ["ID", "OWNER", "PHASE", "IMAGE", "NODES", "SIZE", "USES", "FORKS", "AGE"]
    assert line.split()[:5] == [made["id"], "saving", "ready", "dayfly/bare:latest", "2"]
    dayfly("cluster", "create", "forked", *shape, "--wait")
    assert re.search(rf"^template +{made['id']}$", dayfly("cluster", "show", "forked").stdout, re.MULTILINE)
    text = dayfly("template", "show", made["id"]).stdout
    for part in ("ready", "130 MiB", f"cluster {made['parents']['builder']}", "1 x 2 vCPUs, 300 MiB"):
        assert part in text
    assert dayfly("template", "delete", made["id"]).stdout == f"template {made['id']} is retiring\n"
    assert shown(dayfly, "template", "list", "--owner", "nobody", "--retired") == []
    assert dayfly("template", "show", "0123456789ab").stderr.endswith("hint: dayfly template list\n")
    again = dayfly("template", "create", *shape).stdout
    assert re.fullmatch(r"template \w+ is (building|verifying|ready)\n", again)


@pytest.mark.parametrize(
    ("phase", "size_bytes", "words"),
    [
        ("creating", 0, "creating"),
        ("creating", 312 << 20, "saving, 312 MiB so far"),
        ("ready", 500 << 20, "ready, 500 MiB"),
    ],
)
def test_a_wait_shows_the_size_of_a_growing_snapshot(phase: str, size_bytes: int, words: str) -> None:
    fields = {"name": "c", "phase": phase, "created_at": "2026-01-01T00:00:00Z", "size_bytes": size_bytes}
    found = Checkpoint.model_validate(fields, context=FROM_SERVER)
    assert template_pool_output.snapshot_progress(found) == words


SIZE = {"vcpus": 2, "memory_mib": 512, "disk_gib": 8}
TEMPLATE: dict[str, object] = {
    "age_seconds": 1.0,
    "size_bytes": 0,
    "uses": 0,
    "forks": 0,
    "failures": 1,
    "id": "0123456789ab",
    "owner": "default",
    "phase": "building",
    "readiness": "usable",
    "image": "bare",
    "image_id": "sha256:ab",
    "control_plane": SIZE,
    "workers": {"count": 0, **SIZE},
    "created_at": "2026-01-01T00:00:00Z",
    "parents": {"image": "sha256:ab", "builder": "ba9876543210"},
}


def test_a_wait_for_a_template_tells_the_steps_of_its_builder(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Cluster.model_validate(shown(dayfly, "cluster", "create", "builder", "--image", "bare"))
    began: dict[str, object] = {"attempt": 1, "started_at": "2026-01-01T00:00:00Z", "seconds": 1.0, "error_code": None}
    steps = [
        Step.model_validate(began | step)
        for step in (
            {"name": "network", "node": None, "state": "done", "finished_at": "2026-01-01T00:00:01Z", "detail": "up"},
            {"name": "boot", "node": "node01", "state": "running", "finished_at": None, "detail": ""},
            {"name": "boot", "node": "node02", "state": "waiting", "finished_at": None, "detail": "no answer"},
        )
    ]
    builders = [builder.model_copy(update={"steps": ()}), builder.model_copy(update={"steps": steps})]
    saved, ready = ({**TEMPLATE, "phase": phase, "size_bytes": 1 << 20} for phase in ("building", "ready"))
    answers = [
        Template.model_validate(one, context=FROM_SERVER) for one in (TEMPLATE, TEMPLATE, TEMPLATE, saved, ready)
    ]
    asked: list[str] = []

    def get(_: Client, name: str) -> Cluster:
        asked.append(name)
        return builders.pop(0)

    monkeypatch.setattr(Client, "create_template", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr(Client, "template", lambda *_: answers.pop(0))
    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: None)
    done = dayfly("template", "create", "--image", "bare", "--wait")
    assert done.exit_code == 0, done.output
    assert re.sub(r"^\[.*?\] template 0123456789ab: ", "", done.stderr, flags=re.MULTILINE).splitlines() == [
        "building",
        "building: node01 boot; node02 boot (no answer)",
        "saving, 1 MiB so far",
        "ready, 1 MiB",
    ]
    assert asked == ["ba9876543210", "ba9876543210"]


def test_a_template_that_failed_says_why_and_where_to_look() -> None:
    error = {
        "code": "vm_exited",
        "message": "QEMU ended",
        "step": "boot",
        "node": "node01",
        "evidence": ["boot/exit", "node01/console"],
        "cluster": "ba9876543210",
    }
    failed = Template.model_validate({**TEMPLATE, "phase": "failed", "error": error}, context=FROM_SERVER)
    *_, failure, evidence, hint = template_pool_output.template(failed).splitlines()
    assert failure == "error [vm_exited]: QEMU ended"
    assert evidence == "evidence    boot/exit, node01/console"
    assert hint == "hint: dayfly cluster diagnostics ba9876543210"


POOL: dict[str, object] = {
    "id": "0123456789ab",
    "name": "ci",
    "owner": "default",
    "created_at": "2026-01-01T00:00:00Z",
    "readiness": "usable",
    "image": "bare",
    "image_id": "sha256:ab",
    "kubernetes_version": None,
    "control_plane": {"vcpus": 2, "memory_mib": 512, "disk_gib": 8},
    "workers": {"count": 0, "vcpus": 2, "memory_mib": 512, "disk_gib": 8},
    "size": 2,
    "maximum": 2,
    "schedule": [],
    "max_age_seconds": 60,
    "desired_size": 2,
}


@pytest.mark.parametrize(
    ("code", "provisioning", "fails"),
    [
        ("vm_exited", 0, True),
        ("image_missing", 0, True),
        ("vm_exited", 1, False),
        ("template_building", 0, False),
        ("insufficient_capacity", 0, False),
        ("engine_unavailable", 0, False),
    ],
)
def test_a_wait_for_a_pool_ends_with_what_prevents_it(
    dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch, code: str, provisioning: int, fails: bool
) -> None:
    condition = {"code": code, "message": "template 1 failed: no pod ran"}
    waits = {**POOL, "ready": 0, "provisioning": provisioning, "condition": condition}
    filled = {**POOL, "ready": 2, "provisioning": 0, "condition": None}
    answers = [Pool.model_validate(one, context=FROM_SERVER) for one in (waits, waits, filled)]
    monkeypatch.setattr(Client, "create_pool", lambda *_, **__: answers[0])
    monkeypatch.setattr(Client, "pool", lambda *_: answers.pop(0))
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: None)
    done = dayfly("pool", "create", "ci", "--image", "bare", "--size", "2", "--wait")
    assert done.exit_code == (7 if fails else 0), done.output
    sentence = f"error [{code}]: pool ci is not filled: template 1 failed: no pod ran\n  hint: dayfly pool show ci\n"
    assert done.stderr.endswith(sentence) == fails
    assert (done.stdout == "pool ci: 2 of 2 ready, 0 being provisioned\n") != fails


def test_pools(dayfly: Dayfly) -> None:
    shape = ("--image", "bare", "--memory-mib", "700", "--owner", "warm")
    period = ("--schedule", "mon-fri,sun 07:00-19:00 1", "--schedule", "sat 00:00-24:00 1")
    done = dayfly("pool", "create", "warm", *shape, "--size", "1", "--maximum", "1", *period, "--max-age", "2h")
    assert done.stdout == "pool warm: 0 of 1 ready, 0 being provisioned\n", done.output
    until(lambda: shown(dayfly, "pool", "show", "warm")["ready"] == 1)
    header, line = dayfly("pool", "list").stdout.splitlines()
    assert header.split() == ["NAME", "OWNER", "IMAGE", "NODES", "DESIRED", "READY", "PROVISIONING", "CONDITION"]
    assert line.split() == ["warm", "warm", "dayfly/bare:latest", "1", "1", "1", "0", "-"]
    text = dayfly("pool", "show", "warm").stdout
    for part in (
        "mon,tue,wed,thu,fri,sun 07:00-19:00 1; sat 00:00-24:00 1",
        "1 ready, 0 being provisioned",
        "2 h 00 min",
    ):
        assert part in text
    empty = Pool.model_validate(
        shown(dayfly, "pool", "show", "warm") | {"condition": {"code": "insufficient_capacity", "message": "full"}}
    )
    assert template_pool_output.pool(empty).endswith("not filled  full [insufficient_capacity]")
    assert template_pool_output.pools([empty]).endswith("insufficient_capacity")
    (member,) = shown(dayfly, "cluster", "list", "--purpose", "pool_member", "--owner", "warm")
    taken = dayfly("cluster", "create", "claimed", *shape, "--wait")
    assert taken.stdout.startswith("claimed is ready ("), taken.output
    assert shown(dayfly, "cluster", "show", "claimed")["id"] == member["id"]
    changed = shown(dayfly, "pool", "change", "warm", "--size", "0", "--no-schedule")
    assert (changed["size"], changed["maximum"], changed["schedule"]) == (0, 1, [])
    deleted = "pool warm is deleted", "pool warm is deleted; its members are being deleted"
    assert dayfly("pool", "delete", "warm").stdout.strip() in deleted
    gone = dayfly("pool", "show", "warm").stderr
    assert gone.startswith("error [not_found]: ")
    assert gone.endswith("hint: dayfly pool list\n")
    both = dayfly("pool", "change", "warm", "--no-schedule", "--schedule", "mon 01:00-02:00 1")
    assert both.exit_code == 2


def test_a_schedule_as_it_is_written() -> None:
    first, second = parse_schedule(["mon-wed,sun 07:00-19:30 4", "sat 00:00-24:00 0"])
    assert (first.days, first.since, first.until, first.size) == (("mon", "tue", "wed", "sun"), "07:00", "19:30", 4)
    assert (second.days, second.until, second.size) == (("sat",), "24:00", 0)


@pytest.mark.parametrize(
    "text", ["", "mon", "mon 07:00 4", "monday 07:00-19:00 4", "fri-mon 07:00-19:00 4", "mon- 7:00-8:00 1", "- 1"]
)
def test_a_schedule_that_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_schedule([text])


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 MiB"), (130 << 20, "130 MiB"), (1536 << 20, "1.5 GiB"), (2**40, "1024.0 GiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


def test_create_and_wait(dayfly: Dayfly) -> None:
    template = dayfly("template", "create", "--image", "bare", "--owner", "waiting", "--wait")
    assert template.exit_code == 0, template.output
    assert re.fullmatch(r"template \w+ is ready\n", template.stdout)
    assert re.search(r"^\[ *\d+\.\d s\] template \w+: ready, 130 MiB$", template.stderr, re.MULTILINE)
    dayfly("cluster", "create", "waiting-saved", "--image", "bare", "--wait")
    checkpoint = dayfly("cluster", "checkpoint", "create", "waiting-saved", "before", "--wait")
    assert (checkpoint.exit_code, checkpoint.stdout) == (0, "checkpoint before is ready\n"), checkpoint.output
    pool = dayfly("pool", "create", "waiting", "--image", "bare", "--size", "1", "--wait")
    assert (pool.exit_code, pool.stdout) == (0, "pool waiting: 1 of 1 ready, 0 being provisioned\n"), pool.output
