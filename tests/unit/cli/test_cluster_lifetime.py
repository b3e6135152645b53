"""`dayfly cluster extend`, `hold`, `unhold`, `heartbeat`, `diagnostics`; the queue in `list` and `show`."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dayfly.client import ApiError, Client, Heartbeat, Unreachable

Dayfly = Callable[..., Result]


def shown(dayfly: Dayfly, name: str) -> dict[str, object]:
    cluster: dict[str, object] = json.loads(dayfly("cluster", "show", name, "--json").stdout)
    return cluster


def test_extend_says_when_it_ends(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "longer", "--image", "bare", "--wait")
    done = dayfly("cluster", "extend", "longer", "--ttl", "2h")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(
        r"longer expires at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, in (2 h 00|1 h 59) min; not held\n", done.stdout
    )
    assert shown(dayfly, "longer")["ttl_seconds"] == 7200
    text = dayfly("cluster", "show", "longer").stdout
    assert re.search(r"^expires +at .* UTC, in (2 h 00|1 h 59) min$", text, re.MULTILINE)
    again = json.loads(dayfly("cluster", "extend", "longer", "--ttl", "2h", "--json").stdout)
    assert again["expires_at"] == shown(dayfly, "longer")["expires_at"]


def test_hold_and_unhold(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "kept", "--image", "bare", "--wait")
    done = dayfly("cluster", "hold", "kept", "--for", "30m", "--reason", "flaky test", "--vms", "stopped")
    assert done.exit_code == 0, done.output
    assert "kept never expires; held until " in done.stdout
    assert "UTC: flaky test, its VMs stopped" in done.stdout
    assert "flaky test" in dayfly("cluster", "show", "kept").stdout
    assert dayfly("cluster", "unhold", "kept").stdout == "kept never expires; not held\n"
    assert shown(dayfly, "kept")["hold"] is None
    assert json.loads(dayfly("cluster", "hold", "kept", "--json").stdout)["hold"]["vms"] == "running"


@pytest.mark.parametrize("options", [("--for", "0s"), ("--reason", "\x07"), ("--reason", 257 * "x")])
def test_a_hold_that_cannot_be(dayfly: Dayfly, options: tuple[str, str]) -> None:
    refused = dayfly("cluster", "hold", "any", *options)
    assert (refused.exit_code, refused.stderr.startswith("error [invalid_request]: ")) == (2, True), refused.output


def test_one_heartbeat(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "beating", "--image", "bare", "--heartbeat", "1m", "--wait")
    done = dayfly("cluster", "heartbeat", "beating")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"beating expires at .*; the next heartbeat is due within 60 s\n", done.stdout)
    dayfly("cluster", "create", "silent", "--image", "bare", "--wait")
    refused = dayfly("cluster", "heartbeat", "silent")
    assert (refused.exit_code, refused.stderr.startswith("error [conflict]: ")) == (4, True)


def test_heartbeats_that_would_come_too_late_are_refused(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "beating-late", "--image", "bare", "--heartbeat", "1m", "--wait")
    done = dayfly("cluster", "heartbeat", "beating-late", "--every", "1m")
    assert done.exit_code == 2
    assert "--every: less than the cluster's interval, 60 s" in done.stderr


def test_heartbeats_go_on_until_the_cluster_is_gone(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer for a moment is no end."""
    dayfly("cluster", "create", "beating-on", "--image", "bare", "--heartbeat", "1m", "--wait")
    identity = shown(dayfly, "beating-on")["id"]
    pauses: list[float] = []
    heartbeat = Client.heartbeat

    def unsteady(client: Client, cluster: str) -> Heartbeat:
        match len(pauses):
            case 1:
                raise Unreachable("http://127.0.0.1:9", "refused")
            case 2:
                raise ApiError("database_unavailable", 503, "away", {})
            case 4:
                client.delete(cluster)
                client.wait_deleted(cluster)
        assert cluster == ("beating-on" if not pauses else identity)
        return heartbeat(client, cluster)

    monkeypatch.setattr(Client, "heartbeat", unsteady)
    monkeypatch.setattr("dayfly.cli.cluster_lifetime.time.sleep", pauses.append)
    done = dayfly("cluster", "heartbeat", "beating-on", "--every", "20s")
    assert done.exit_code == 4
    assert pauses == [20.0] * 4
    assert done.stdout.count("the next heartbeat is due within 60 s") == 2
    first, second, last = done.stderr.splitlines()
    assert first == "heartbeat failed: no answer from http://127.0.0.1:9: refused"
    assert second == "heartbeat failed: [database_unavailable] away"
    assert last.startswith("error [conflict]: ")


@pytest.mark.parametrize("request_", ["heartbeat", "get"])
def test_the_first_heartbeat_may_meet_a_proxy(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch, request_: str) -> None:
    dayfly("cluster", "create", "beating-first", "--image", "bare", "--heartbeat", "1m", "--wait")
    whole, refused, pauses = getattr(Client, request_), list[float](), list[float]()

    def refuse(client: Client, cluster: str) -> object:
        if len(refused) < 2:
            refused.append(0)
            raise ApiError("forbidden", 403, "no", {})
        return whole(client, cluster)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Client, request_, refuse)
    monkeypatch.setattr("dayfly.cli.cluster_lifetime.time.sleep", pause)
    done = dayfly("cluster", "heartbeat", "beating-first", "--every", "20s")
    assert done.exit_code == 130, done.output
    assert done.stdout.count("the next heartbeat is due within 60 s") == (2 if request_ == "heartbeat" else 4)
    assert done.stderr.splitlines() == ["heartbeat failed: [forbidden] no"] * 2 + ["interrupted"]


@pytest.mark.parametrize(
    ("name", "code", "error"), [("nothing", 3, "not_found"), ("..", 2, "invalid_request"), ("still", 4, "conflict")]
)
def test_heartbeats_that_cannot_succeed_end_at_once(dayfly: Dayfly, name: str, code: int, error: str) -> None:
    dayfly("cluster", "create", "still", "--image", "bare")
    done = dayfly("cluster", "heartbeat", name, "--every", "20s")
    assert (done.exit_code, done.stderr.partition(":")[0]) == (code, f"error [{error}]")


def test_diagnostics_are_a_private_file(dayfly: Dayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dayfly("cluster", "create", "bad-inside", "--image", "bare", "--wait")
    target = tmp_path / "x.tar.gz"
    done = dayfly("cluster", "diagnostics", "bad-inside", "--output", str(target))
    assert (done.exit_code, done.stderr) == (0, f"written to {target}\n"), done.output
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as tar:
        assert "bad-inside/evidence/node01/console.txt" in tar.getnames()
    monkeypatch.chdir(tmp_path)
    assert dayfly("cluster", "diagnostics", "bad-inside").exit_code == 0
    assert (tmp_path / "bad-inside-diagnostics.tar.gz").exists()


def test_the_queue_is_told(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "slow-queue", "--image", "bare", "--owner", "queue", "--ttl", "90m")
    position = shown(dayfly, "slow-queue")["queue_position"]
    _, line = dayfly("cluster", "list", "--owner", "queue").stdout.splitlines()
    assert f" queue  pending (#{position})" in re.sub(r" {3,}", "  ", line).replace("  ", " ", 1)
    text = dayfly("cluster", "show", "slow-queue").stdout
    assert re.search(rf"^phase +pending \(#{position}\)$", text, re.MULTILINE)
    assert re.search(r"^begins +likely at ", text, re.MULTILINE)
    assert re.search(r"^expires +1 h 30 min after it is ready$", text, re.MULTILINE)
    assert re.search(r"^owner +queue$", text, re.MULTILINE)
