"""Diagnostics of a cluster: complete, bounded, without secrets, whatever is broken."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from dayfly.clock import SystemClock
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.network import LEASES, ssh_forward_port
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import CommandResult, Drivers, KubeNode
from dayfly.steps.observe import diagnostics
from dayfly.steps.observe.diagnostics import TEXT_BYTES, collect
from dayfly.testing.fakes import FakeEngine, FakeKube, FakeMachines, FakePressure, FakeSsh
from tests.support.specs import make_cluster, make_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Lab:
    """A running cluster of two nodes on fakes."""

    def __init__(self, *, kubernetes: bool = True) -> None:
        spec = make_spec(workers=1, kubernetes=kubernetes)
        self.cluster = make_cluster(spec)
        self.secrets = new_secrets(spec, NOW)
        self.topology = compute_topology(
            self.cluster.id, spec, instance="default", accelerator="tcg", publication=Publication()
        )
        self.engine, self.ssh, self.kube = FakeEngine(), FakeSsh(), FakeKube()

    async def start(self) -> None:
        for container in (self.topology.net, self.topology.registry, *self.topology.nodes):
            await self.engine.ensure(container)

    async def collect(self, *, with_secrets: bool = True) -> dict[str, str]:
        drivers = Drivers(self.engine, self.ssh, self.kube, FakeMachines(self.engine))
        secrets = self.secrets if with_secrets else None
        return dict(await collect(drivers, self.topology, secrets, FakePressure(12.5), SystemClock()))


async def test_a_kubernetes_cluster_tells_all() -> None:
    lab = Lab()
    await lab.start()
    net, node = (lab.engine.containers[c.name] for c in (lab.topology.net, lab.topology.nodes[1]))
    net.files[LEASES] = b"0 52:55:00:d1:55:01 192.168.66.101 node01 *\n"
    node.files[qemu_cmdline.CONSOLE_LOG] = b"Kernel panic\n"
    node.log.append("qemu: a warning\n")
    node.vm_status = "paused"
    lab.ssh.on("--unit kubelet", CommandResult(0, "the kubelet's words", ""))
    lab.ssh.on("--unit containerd", CommandResult(0, "containerd's words", ""))
    lab.kube.registered[lab.secrets.pki["pki/ca.crt"]] = {"node01": KubeNode("node01", ready=True)}
    lab.kube.reported["pods"] = f"crashed with {lab.secrets.bootstrap_token}\n"
    texts = await lab.collect()
    assert texts.keys() == {
        *(
            "containers.json",
            "engine.json",
            "kubernetes/nodes",
            "kubernetes/pods",
            "pressure",
            "net/log",
            "net/leases",
            "registry/log",
        ),
        *("node01/log", "node01/console", "node01/qmp.json", "node01/kubelet.log", "node01/containerd.log"),
        *("node02/log", "node02/console", "node02/qmp.json", "node02/kubelet.log", "node02/containerd.log"),
    }
    assert "52:55:00:d1:55:01" in texts["net/leases"]
    assert (texts["node02/console"], texts["node02/log"]) == ("Kernel panic\n", "qemu: a warning\n")
    assert json.loads(texts["node02/qmp.json"])["status"] == "paused"
    assert (texts["node02/kubelet.log"], texts["node02/containerd.log"]) == (
        "the kubelet's words",
        "containerd's words",
    )
    states = {c["name"]: c["state"] for c in json.loads(texts["containers.json"])["containers"]}
    assert states == dict.fromkeys(lab.engine.containers, "running")
    assert json.loads(texts["engine.json"])["version"] == lab.engine.host.version
    assert texts["kubernetes/nodes"] == "node node01\n"
    assert texts["kubernetes/pods"] == "crashed with [token]\n"


async def test_plain_machines_give_their_journal() -> None:
    lab = Lab(kubernetes=False)
    await lab.start()
    lab.ssh.on("journalctl", CommandResult(0, "systemd: started", ""))
    texts = await lab.collect()
    assert texts["node02/journal.log"] == "systemd: started"
    assert not [name for name in texts if "kube" in name or "containerd" in name]


async def test_a_machine_that_ended_is_told_at_once_and_the_others_still_speak() -> None:
    lab = Lab()
    await lab.start()
    lab.engine.exit(lab.topology.nodes[0].name, 137, log="qemu: killed")
    texts = await lab.collect()
    told = {c["name"]: (c["state"], c["exit_code"]) for c in json.loads(texts["containers.json"])["containers"]}
    assert told[lab.topology.nodes[0].name] == ("exited", 137)
    assert "qemu: killed" in texts["node01/log"]
    for name in ("node01/kubelet.log", "node01/qmp.json"):
        assert texts[name].startswith("not available: container_exited")
    assert lab.ssh.ran("journalctl") == [lab.engine.containers[lab.topology.net.name].ports[ssh_forward_port(2)]] * 2


async def test_what_is_gone_is_named() -> None:
    lab = Lab()
    await lab.start()
    lab.engine.remove_by_hand(lab.topology.nodes[1].name)
    assert json.loads((await lab.collect())["containers.json"])["missing"] == [lab.topology.nodes[1].name]


async def test_an_engine_that_is_away_is_the_answer_to_every_question() -> None:
    lab = Lab()
    await lab.start()
    lab.engine.engine_down()
    texts = await lab.collect()
    del texts["pressure"]
    assert {text.partition(": ")[2].partition(":")[0] for text in texts.values()} == {"engine_unavailable"}


async def test_a_defect_keeps_nothing_else_back(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    await lab.start()
    lab.engine.fail_always(ZeroDivisionError(), "info")
    texts = await lab.collect()
    assert "ZeroDivisionError in Dayfly itself" in texts["engine.json"]
    assert "node01" in texts["containers.json"]


async def test_nobody_waits_longer_than_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "LOOK_SECONDS", 0.05)
    lab = Lab()
    await lab.start()
    lab.ssh.block("run")
    async with asyncio.timeout(5):
        texts = await lab.collect()
    assert texts["node01/kubelet.log"] == "not available: no answer within 0.05 s"
    assert "running" in texts["containers.json"]


async def test_what_an_api_server_does_not_answer_keeps_nothing_else_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    await lab.start()
    lab.kube.reachable = False
    texts = await lab.collect()
    assert texts["kubernetes/nodes"] == "not available: no answer within 25 s\n"
    assert "running" in texts["containers.json"]
    monkeypatch.setattr(diagnostics, "LOOK_SECONDS", 0.05)
    lab.kube.block("report")
    assert (await lab.collect())["kubernetes"] == "not available: no answer within 0.05 s"


async def test_no_secret_is_in_any_text_even_where_the_cut_falls_into_one() -> None:
    lab = Lab()
    await lab.start()
    node = lab.engine.containers[lab.topology.nodes[0].name]
    key = lab.secrets.pki["pki/ca.key"]
    rest = "x" * 79 + "\n"
    node.files[qemu_cmdline.CONSOLE_LOG] = (
        f"{lab.secrets.bootstrap_token}\n{lab.secrets.user_key.private}\nthe end\n".encode()
    )
    node.log.append(key + rest * (TEXT_BYTES // len(rest) - 1))
    lab.ssh.on("kubelet", CommandResult(0, lab.secrets.pki["admin.conf"] + lab.secrets.pki["pki/sa.key"], ""))
    texts = await lab.collect()
    everything = "\n".join(texts.values())
    keys = [text for path, text in lab.secrets.pki.items() if path.endswith(".key")]
    secret_lines = {
        line for text in (*keys, lab.secrets.user_key.private) for line in text.splitlines() if len(line) > 16
    }
    assert not [line for line in secret_lines if line in everything]
    assert lab.secrets.bootstrap_token not in everything
    assert texts["node01/console"].endswith("the end\n")
    assert all(len(text.encode()) <= TEXT_BYTES for text in texts.values())


async def test_before_there_are_secrets_nobody_logs_in() -> None:
    lab = Lab()
    await lab.start()
    texts = await lab.collect(with_secrets=False)
    assert not lab.ssh.commands
    assert "node01/console" in texts


async def test_the_pressure_on_the_host_is_told() -> None:
    assert (await Lab().collect())["pressure"] == "12.5 % (psi)\n"
