"""Diagnostics of a cluster's API server: complete, and bounded for any answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dayfly.clock import SystemClock
from dayfly.domain.cluster.model import Endpoint
from dayfly.drivers.interfaces import KubeAccess
from dayfly.drivers.kubernetes import report as module
from dayfly.drivers.kubernetes.report import TEXT_BYTES, report
from tests.support.kube_server import KubeServer, running_kube_server

CRASHED = {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": "T1", "finishedAt": "T2"}}
RUNNING = {"running": {"startedAt": "T3"}}
HOSTILE: list[object] = [None, 7, -1.5, True, "", "\ud800\x1b[2J", [], [[]], [7], {}, {"a": []}]


class Lab:
    def __init__(self, server: KubeServer, access: KubeAccess) -> None:
        self.server, self.access = server, access

    async def report(self, timeout: float = 20.0) -> dict[str, str]:
        return dict(await report(self.access, SystemClock(), timeout=timeout))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_kube_server(tmp_path) as (server, access):
        yield Lab(server, access)


def pod(name: str, *containers: dict[str, Any], phase: str = "Running", ready: str = "False") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "ContainersNotReady", "message": "unready: [main]"}
    return {
        "metadata": {"name": name, "namespace": "ci", "annotations": {"a": "hidden-annotation"}},
        "spec": {"nodeName": "node02", "containers": [{"env": [{"name": "PASSWORD", "value": "hidden-value"}]}]},
        "status": {"phase": phase, "conditions": [condition], "containerStatuses": list(containers)},
    }


def container(name: str, state: object, before: object = None, *, restarts: int = 0, ready: bool = False) -> Any:
    return {"name": name, "image": "app:1", "state": state, "restartCount": restarts, "ready": ready} | (
        {} if before is None else {"lastState": before}
    )


def event(name: str, at: str, about: str = "web", **more: object) -> dict[str, Any]:
    subject = {"kind": "Pod", "namespace": "ci", "name": about}
    said = {"type": "Warning", "reason": "Failed", "message": f"no such\nimage {name}", "lastTimestamp": at}
    return {"metadata": {"name": name}, "involvedObject": subject, **said, **more}


async def test_why_a_pod_does_not_run(lab: Lab) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m"}}
    lab.server.put("pods", pod("fine", container("main", RUNNING, ready=True), ready="True"))
    lab.server.put("pods", pod("web", container("main", waiting, CRASHED, restarts=4), container("side", RUNNING)))
    lab.server.put("pods", pod("job", container("main", CRASHED), phase="Failed"))
    lab.server.put("pods", pod("done", container("main", {"terminated": {"exitCode": 0}}), phase="Succeeded"))
    lab.server.put("pods", pod("pulls", container("main", {"waiting": {"reason": "ErrImagePull"}}), phase="Pending"))
    lab.server.put("events", event("b", "2026-01-01T00:00:02Z", count=4))
    lab.server.put("events", event("a", "2026-01-01T00:00:01Z", about="other"))
    lab.server.logs = {("main", "true"): "panic: no config\n", ("main", "false"): "tests failed\n"}
    texts = await lab.report()

    header, *lines = texts["pods"].splitlines()
    assert header.split() == ["NAMESPACE", "NAME", "NODE", "PHASE", "READY", "RESTARTS", "REASON"]
    assert [line.split()[1] for line in lines] == ["job", "pulls", "web", "done", "fine"]
    assert lines[2].split()[2:6] == ["node02", "Running", "0/2", "4"]
    assert "main: waiting: CrashLoopBackOff: back-off 5m" in lines[2]
    first, second = texts["events"].splitlines()
    assert first == "2026-01-01T00:00:01Z Warning Pod ci/other: Failed: no such image a"
    assert second.endswith("Pod ci/web: Failed: no such image b (4 times)")
    assert {name for name in texts if name.startswith("not-ready/")} == {
        *("not-ready/ci_web", "not-ready/ci_job", "not-ready/ci_pulls"),
    }
    described = texts["not-ready/ci_web"]
    assert "Ready False since - ContainersNotReady: unready: [main]" in described
    assert "before: terminated: Error (exit code 3, T1 to T2)" in described
    assert "image b" in described
    assert "image a" not in described
    assert texts["logs/ci_web_main.previous.log"] == "panic: no config\n"
    assert texts["logs/ci_job_main.log"] == "tests failed\n"
    assert "400: " in texts["logs/ci_web_side.log"]
    assert len([name for name in texts if name.startswith("logs/")]) == 3
    assert "hidden" not in "".join(texts.values())
    assert not [path for path in lab.server.asked if "secrets" in path]


async def test_nodes_with_their_conditions_taints_and_leases(lab: Lab) -> None:
    condition = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "kubelet stopped"}
    status = {"conditions": [condition], "nodeInfo": {"kubeletVersion": "v1.20.2"}}
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
    lab.server.put("nodes", {"metadata": {"name": "node01"}, "spec": {"taints": [taint]}, "status": status})
    lab.server.put("leases", {"metadata": {"name": "node01"}, "spec": {"renewTime": "T9"}})
    nodes = (await lab.report())["nodes"]
    assert "Ready Unknown since - NodeStatusUnknown: kubelet stopped" in nodes
    assert "node.kubernetes.io/unreachable=-:NoSchedule" in nodes
    assert "lease renewed: T9" in nodes
    assert "kubelet v1.20.2" in nodes


async def test_an_api_server_that_is_away_or_answers_errors(lab: Lab) -> None:
    lab.server.unavailable = True
    texts = await lab.report()
    assert set(texts) == {"nodes", "leases", "events", "pods"}
    assert {text[:44] for text in texts.values()} == {"not available: the API server answered 503: "}
    lab.access = replace(lab.access, endpoint=Endpoint("127.0.0.1", 1))
    assert all(text.startswith("not available: ") for text in (await lab.report()).values())


async def test_one_part_without_an_answer_keeps_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REQUEST_SECONDS", 2.0)
    lab.server.hanging = {"events", "leases"}
    lab.server.put("nodes", {"metadata": {"name": "node01"}})
    lab.server.put("pods", pod("web", container("main", {})))
    texts = await lab.report()
    assert texts["events"] == texts["leases"] == "not available: no answer within 2 s\n"
    assert "lease renewed: not available" in texts["nodes"]
    assert texts["not-ready/ci_web"].endswith("events:\n  not available\n")


async def test_the_whole_is_bounded_in_time_and_keeps_what_was_read(lab: Lab) -> None:
    lab.server.hanging = {"pods"}
    texts = await lab.report(timeout=1.0)
    assert texts["nodes"] == "no node is registered\n"
    assert "longer than 1 s" in texts["incomplete"]


async def test_many_pods_are_read_page_by_page_and_what_is_left_out_is_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 10)
    monkeypatch.setattr(module, "_PAGES", 4)
    for number in range(50):
        lab.server.put("pods", pod(f"p{number:02}", container("main", CRASHED)))
    lab.server.logs[("main", "false")] = "x"
    texts = await lab.report()
    assert len(texts["pods"].splitlines()) == 41
    assert texts["left-out"] == "/api/v1/pods: objects after the first 40 were not read\n"
    assert len([name for name in texts if name.startswith("not-ready/ci_")]) == 20
    assert texts["not-ready/left-out"].startswith("20 more pods")
    assert len([name for name in texts if name.startswith("logs/ci_")]) == 20
    assert "20 more containers" in texts["logs/left-out"]


async def test_no_field_of_another_form_is_a_defect(lab: Lab) -> None:
    for value in HOSTILE:
        pods = [
            {"metadata": value, "spec": value, "status": value},
            {"metadata": {"name": value, "namespace": value}, "status": {"conditions": value, "phase": value}},
            {"status": {"containerStatuses": value, "conditions": [value]}},
            pod("web", container("main", value, value), {"name": value, "state": CRASHED, "restartCount": value}),
            pod("web", container("main", {"waiting": value}, {"terminated": value})),
            pod("web", container("main", {"terminated": {"exitCode": value, "reason": value, "signal": value}})),
        ]
        event = {"involvedObject": value, "series": value, "count": value, "lastTimestamp": value, "message": value}
        node = {"metadata": {"name": value}, "spec": {"taints": value}, "status": {"nodeInfo": value}}
        for kind, items in (("pods", pods), ("events", [event]), ("nodes", [node])):
            lab.server.raw[kind] = json.dumps({"items": items}).encode()
        lab.server.raw["leases"] = json.dumps({"items": [{"metadata": value, "spec": {"renewTime": value}}]}).encode()
        texts = await lab.report()
        assert len(texts["pods"].splitlines()) == 7, value
        assert not [name for name in ("events", "nodes", "leases") if texts.get(name, "").startswith("not")], value
        assert "\x1b" not in "".join(texts.values())
        "".join(texts.values()).encode()


async def test_an_answer_of_another_form_is_named(lab: Lab) -> None:
    for answer, said in (
        (b"[" * 100_000, "too deeply"),
        (b'{"items": "x"}', "is no list"),
        (b"null", "is no list"),
        (b'{"items": [' + b"9" * 5000 + b"]}", "not available: "),
        (b"\xff", "not available: "),
        (b" " * (3 << 20), "is longer than 2097152 bytes"),
    ):
        lab.server.raw["pods"] = answer
        texts = await lab.report()
        assert said in texts["pods"]
        assert texts["events"] == "no events\n"


async def test_long_texts_are_cut_and_names_stay_apart(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOGS", 200)
    state = {"terminated": {"exitCode": 1, "message": "m" * 5000}}
    names = ["../../etc", "..\\..\\etc", "x" * 300, "x" * 299]
    for name in names:
        lab.server.put("pods", pod(name, *(container("n" * 400, state) for _ in range(40))))
    lab.server.put("pods", pod("web", container("main", CRASHED)))
    lab.server.logs[("main", "false")] = "".join(f"line {number} {'y' * 90}\n" for number in range(5000))
    texts = await lab.report()
    assert all(len(text.encode()) <= TEXT_BYTES + 100 for text in texts.values())
    assert all(len(name) < 220 for name in texts)
    assert len([name for name in texts if name.startswith("not-ready/")]) == 5
    assert not [name for name in texts if "/.." in name or name.count("/") > 1]
    assert texts["logs/ci_web_main.log"].startswith("(")
    assert "line 4999 " in texts["logs/ci_web_main.log"]


async def test_a_log_without_end_is_given_up(lab: Lab) -> None:
    lab.server.put("pods", pod("web", container("main", CRASHED)))
    lab.server.logs[("main", "false")] = "y" * (2 << 20)
    assert "is longer than 1048576 bytes" in (await lab.report())["logs/ci_web_main.log"]


async def test_a_continue_token_that_repeats_ends(lab: Lab) -> None:
    lab.server.raw["pods"] = b'{"items": [7, {}], "metadata": {"continue": "0"}}'
    texts = await lab.report()
    assert lab.server.asked.count("/api/v1/pods") == 10
    assert len(texts["pods"].splitlines()) == 11
