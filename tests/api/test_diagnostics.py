"""The archive of diagnostics: content, bounds, and omissions."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime

import httpx
import pytest

from dayfly.api.clusters import diagnostics_bundle
from dayfly.domain.cluster.model import NewEvent
from dayfly.errors import EngineUnavailable
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.api import Infrastructure, Worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def unpack(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        members = tar.getmembers()
        assert all(member.isfile() for member in members)
        assert [member.name for member in members] == sorted(member.name for member in members)
        return {member.name: file.read() for member in members if (file := tar.extractfile(member))}


async def fetch(http: httpx.AsyncClient, cluster: str) -> dict[str, bytes]:
    answer = await http.get(f"/v1/clusters/{cluster}/diagnostics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"] == 'attachment; filename="demo-diagnostics.tar.gz"'
    return unpack(answer.content)


async def create(http: httpx.AsyncClient) -> str:
    identity: str = (await http.post("/v1/clusters", json={"name": "demo", "image": "k8s"})).json()["id"]
    return identity


async def test_a_ready_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await worker.make()
    files = await fetch(http, "demo")
    assert set(files) == {
        "demo/cluster.json",
        "demo/steps.json",
        "demo/events.json",
        "demo/now/engine.txt",
        "demo/now/node01/console.txt",
    }
    assert files["demo/now/node01/console.txt"] == b"login: "
    shown = (await http.get("/v1/clusters/demo")).json()
    assert json.loads(files["demo/cluster.json"]) == {key: shown[key] for key in shown if key != "steps"}
    assert json.loads(files["demo/steps.json"]) == shown["steps"]
    assert json.loads(files["demo/events.json"]) == (await http.get("/v1/clusters/demo/events")).json()["events"]


async def test_one_that_failed_and_was_torn_down(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = await create(http)
    await worker.fail({"node01/console": "Kernel panic", "logs": "x"})
    failed = await fetch(http, "demo")
    assert failed["demo/evidence/node01/console.txt"] == b"Kernel panic"
    assert failed["demo/now/node01/console.txt"] == b"login: "
    await http.delete("/v1/clusters/demo")
    await worker.remove()
    gone = await fetch(http, identity)
    assert gone["demo/evidence/logs.txt"] == b"x"
    assert json.loads(gone["demo/cluster.json"])["error"]["code"] == "vm_exited"
    assert not [name for name in gone if name.startswith("demo/now/")]
    assert (await http.get(f"/v1/clusters/{identity}/evidence/logs")).text == "x"


async def test_it_has_no_secrets(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    identity = await create(http)
    await worker.make()
    secrets = await store.clusters.secrets(identity)
    assert secrets is not None
    content = b"".join((await fetch(http, "demo")).values())
    assert b"PRIVATE KEY" not in content
    assert secrets.bootstrap_token.encode() not in content


async def test_an_outage_of_the_engine_is_named_in_the_bundle(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    await create(http)
    infrastructure.diagnostics.broken = EngineUnavailable("the engine does not answer")
    files = await fetch(http, "demo")
    assert files["demo/now/not-collected.txt"] == b"[engine_unavailable] the engine does not answer\n"
    assert json.loads(files["demo/cluster.json"])["phase"] == "pending"


async def test_a_collection_that_takes_too_long_is_named_in_the_bundle(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    await create(http)
    infrastructure.diagnostics.broken = TimeoutError()
    assert b"took longer" in (await fetch(http, "demo"))["demo/now/not-collected.txt"]


async def test_of_many_events_the_last_are_there(
    http: httpx.AsyncClient, worker: Worker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(http)
    claim = await worker.claim()
    for number in range(12):
        await store.status.append_event(claim, NewEvent("step.progress", f"line {number}"))
    monkeypatch.setattr(diagnostics_bundle, "MAX_EVENTS", 5)
    monkeypatch.setattr(diagnostics_bundle, "_EVENTS_A_LOOK", 3)
    events = json.loads((await fetch(http, "demo"))["demo/events.json"])
    assert [event["message"] for event in events] == [f"line {number}" for number in range(7, 12)]


async def test_what_is_not_there(http: httpx.AsyncClient) -> None:
    check_problem(await http.get("/v1/clusters/nothing/diagnostics"), 404, "not_found")


def test_a_text_is_cut_to_its_end_at_a_whole_character() -> None:
    files = unpack(diagnostics_bundle.pack("demo", {}, {"long": "é" * diagnostics_bundle.MAX_TEXT_BYTES + "."}, NOW))
    assert len(files["demo/long.txt"]) == diagnostics_bundle.MAX_TEXT_BYTES - 1
    assert files["demo/long.txt"].decode().endswith("éé.")


def test_all_together_is_bounded_and_what_is_left_out_is_named() -> None:
    texts = {f"text{number:03}": "x" * diagnostics_bundle.MAX_TEXT_BYTES for number in range(130)}
    files = unpack(diagnostics_bundle.pack("demo", {"cluster.json": b"{}"}, texts, NOW))
    named = files.pop("demo/left-out.txt").decode().splitlines()
    assert named == [f"text{number:03}: the bundle is full" for number in (127, 128, 129)]
    assert sum(map(len, files.values())) <= diagnostics_bundle.MAX_BYTES


def test_no_name_leads_out_of_the_folder_or_takes_a_folders_place() -> None:
    texts = {"../../etc/passwd": "1", "/root/x": "2", "a": "3", "a/b.json": "4", "..": "5", "lone\ud800": "\ud800"}
    files = unpack(diagnostics_bundle.pack("demo", {}, texts, NOW))
    assert {"demo/etc/passwd.txt", "demo/root/x.txt", "demo/a.txt", "demo/a/b.json", "demo/unnamed.txt"} <= set(files)
    assert all(name.startswith("demo/") for name in files)


def test_the_same_gives_the_same_bytes() -> None:
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert diagnostics_bundle.pack("demo", {}, one, NOW) == diagnostics_bundle.pack("demo", {}, other, NOW)
