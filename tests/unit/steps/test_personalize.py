"""The step `personalize`: a new fork, a personalised fork, and a guest that fails."""

from __future__ import annotations

import io
import tarfile
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dayfly.clock import SystemClock
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.network import REGISTRY_PORT, ssh_forward_port
from dayfly.domain.cluster.spec import Readiness
from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.registry_cache import read_caches
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import CommandResult, Drivers
from dayfly.errors import CommandFailed, SshRefused, SshTimeout, VmExited
from dayfly.steps.guest.guest_seed import seed_file
from dayfly.steps.guest.registry_names import RULE, RULES_DIR, cache_rule, registry_rules
from dayfly.steps.personalize import Personalize
from dayfly.steps.sandbox import Sandbox
from dayfly.steps.step import StepContext
from dayfly.testing.fakes import FakeEngine, FakeKube, FakeMachines, FakeSsh
from tests.support.specs import make_cluster, make_spec

SPEC = make_spec()
SECRETS = new_secrets(SPEC, datetime(2026, 1, 1, tzinfo=UTC))


class Lab:
    """A fork that runs. Its guest, played here, has what it was given unpacked in `files`."""

    def __init__(self) -> None:
        self.engine, self.ssh = FakeEngine(), FakeSsh()
        self.machines = FakeMachines(self.engine)
        self.machines.on_run(self._guest)
        self.machines.on_read(self._file)
        cluster = make_cluster(SPEC)
        topology = compute_topology(cluster.id, SPEC, instance="default", accelerator="tcg", publication=Publication())
        self.context = StepContext(
            cluster=cluster,
            secrets=SECRETS,
            topology=topology,
            drivers=Drivers(self.engine, self.ssh, FakeKube(), self.machines),
            limits=EMULATED,
            accelerator="tcg",
            clock=SystemClock(),
            progress=lambda sentence: None,
            node=SPEC.nodes()[0],
        )
        self.mark = ""
        self.given: list[bytes] = []
        self.trouble: CommandResult | None = None

    async def begin(self) -> None:
        await Sandbox().apply(self.context)
        await self.engine.ensure(self.context.container)

    @property
    def ssh_port(self) -> int:
        return self.engine.containers[self.context.topology.net.name].ports[ssh_forward_port(1)]

    def _file(self, container: str, path: str) -> str:
        if not self.mark:
            raise CommandFailed(f"{container}: there is no {path}")
        return self.mark

    def _guest(self, container: str, argv: Sequence[str], stdin: bytes) -> CommandResult:
        assert container == self.context.container.name
        self.given.append(stdin)
        if self.trouble is None:
            self.mark = f"{argv[-2]}\n"
        return self.trouble or CommandResult(0, "", "")


@pytest.fixture
async def lab() -> Lab:
    made = Lab()
    await made.begin()
    return made


def unpacked(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {m.name: member.read() for m in opened if (member := opened.extractfile(m)) is not None}


async def test_a_fork_becomes_what_a_boot_of_its_cluster_would_be(lab: Lab) -> None:
    assert not await Personalize().check(lab.context)
    await Personalize().apply(lab.context)
    assert await Personalize().check(lab.context)
    (given,) = map(unpacked, lab.given)
    entropy = given.pop("entropy")
    assert given == unpacked(seed_file(lab.context.cluster.id, SPEC.nodes()[0], SECRETS).content)
    assert len(set(entropy)) > 8
    assert lab.ssh.forgotten == [lab.ssh_port], "a connection to what was there before would only stay silent"


async def test_a_fork_with_kubernetes_knows_its_registry_under_the_hosts_names(lab: Lab) -> None:
    cluster = replace(lab.context.cluster, spec=make_spec(kubernetes=True))
    context = replace(lab.context, cluster=cluster, advertised="lab.example")
    await Personalize().apply(context)
    await Personalize().apply(replace(context, cluster=replace(cluster, purpose=Purpose.TEMPLATE)))
    (of_fork, of_template) = lab.given
    port = lab.engine.containers[lab.context.topology.net.name].ports[REGISTRY_PORT]
    rules = {path: text for path, text in unpacked(of_fork).items() if "containerd" in path}
    assert set(rules) == {
        f"etc/containerd/certs.d/{host}:{port}/hosts.toml" for host in ("localhost", "127.0.0.1", "lab.example")
    }
    assert {tomllib.loads(text.decode())["server"] for text in rules.values()} == {"http://registry:5000"}
    with tarfile.open(fileobj=io.BytesIO(of_fork)) as opened:
        members = opened.getmembers()
    # The program in the guest makes no folder that is not named, and none after its file.
    made = {"etc"}
    for member in members:
        parent = member.name.rpartition("/")[0]
        assert parent in {"", "root", "root/.ssh", "etc/ssh"} | made
        if member.isdir():
            made.add(member.name)
    assert "containerd" not in str(unpacked(of_template).keys())


async def test_a_host_name_that_is_too_long_for_the_guests_program_has_no_rule(lab: Lab) -> None:
    cluster = replace(lab.context.cluster, spec=make_spec(kubernetes=True))
    for letters, rules in ((55, 3), (56, 2)):
        context = replace(lab.context, cluster=cluster, advertised=f"{'a' * letters}.lab")
        assert len(await registry_rules(context)) == rules
        await Personalize().apply(context)
        names = list(unpacked(lab.given.pop()))
        assert all(len(name) < 100 for name in names), names


async def test_forks_and_templates_pull_cached_registries_through_the_cache(lab: Lab) -> None:
    kubernetes = replace(lab.context.cluster, spec=make_spec(kubernetes=True))
    topology = replace(lab.context.topology, caches=read_caches(["docker.io", "quay.io=http://mirror.example:5443"]))
    context = replace(lab.context, cluster=kubernetes, topology=topology)
    for one in (kubernetes, replace(kubernetes, purpose=Purpose.TEMPLATE)):
        await Personalize().apply(replace(context, cluster=one))
        rules = {
            path: tomllib.loads(text.decode()) for path, text in unpacked(lab.given.pop()).items() if ".io" in path
        }
        pull = {"capabilities": ["pull", "resolve"]}
        # In this order, and without `server`: containerd asks the registry itself last.
        assert {path: list(rule["host"].items()) for path, rule in rules.items()} == {
            "etc/containerd/certs.d/docker.io/hosts.toml": [("http://registry:5001/docker.io/v2", pull)],
            "etc/containerd/certs.d/quay.io/hosts.toml": [
                ("http://registry:5002/quay.io/v2", pull),
                ("http://mirror.example:5443", pull),
            ],
        }
        assert all(rule.keys() == {"host"} for rule in rules.values())
    assert await registry_rules(replace(lab.context, topology=topology)) == (), (
        "without Kubernetes there is no containerd"
    )


def test_the_longest_name_of_a_cached_registry_has_a_rule() -> None:
    (cache,) = read_caches([f"{'a' * 53}.lab:5000"])
    assert len(f"{RULES_DIR}/{cache.name}/hosts.toml") <= 100
    assert tomllib.loads(cache_rule(cache))["host"].keys() == {f"http://registry:5001/{'a' * 53}.lab_5000/v2"}


def test_the_image_reaches_the_registry_as_the_rules_do() -> None:
    role = Path(__file__).parents[3] / "provisioning" / "ansible" / "roles" / "containerd"
    for text in ((role / "files" / "registry.toml").read_text(), RULE):
        # containerd 1.6 refuses a file without the table.
        assert tomllib.loads(text) == {"server": "http://registry:5000", "host": {}}
    configured = tomllib.loads((role / "templates" / "config.toml.j2").read_text())
    registry = configured["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry == {"config_path": RULES_DIR}, "containerd refuses mirrors beside it"


async def test_random_numbers_differ_each_time(lab: Lab) -> None:
    await Personalize().apply(lab.context)
    await Personalize().apply(lab.context)
    first, second = (unpacked(given)["entropy"] for given in lab.given)
    assert first != second


async def test_what_another_cluster_left_in_its_memory_is_no_identity(lab: Lab) -> None:
    lab.mark = "ssh-ed25519 of-another-cluster\n"
    assert not await Personalize().check(lab.context)


async def test_no_secret_is_in_the_argv_of_a_guest(lab: Lab) -> None:
    await Personalize().apply(lab.context)
    lines = [line for line in SECRETS.host_key.private.splitlines() if "-----" not in line]
    assert not any(line in word for _, argv in lab.machines.ran for word in argv for line in lines)


async def test_a_guest_that_refuses_says_why_but_no_key(lab: Lab) -> None:
    key = SECRETS.host_key.private
    lab.trouble = CommandResult(2, "", f"tar: disk full\n{key}")
    with pytest.raises(CommandFailed, match="node01 cannot be personalised") as caught:
        await Personalize().apply(lab.context)
    assert "tar: disk full" in caught.value.evidence["stderr"]
    assert key.splitlines()[1] not in str(caught.value.evidence)


async def test_a_silent_agent_is_told_with_the_console(lab: Lab) -> None:
    lab.machines.agent_silent(lab.context.container.name)
    assert not await Personalize().check(lab.context)
    with pytest.raises(SshTimeout) as caught:
        await Personalize().apply(lab.context)
    assert "console" in caught.value.evidence


async def test_a_node_that_answers_as_somebody_else_is_not_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(target: object, *, timeout: float) -> None:
        raise SshRefused("another host key")

    await Personalize().apply(lab.context)
    monkeypatch.setattr(lab.ssh, "wait", refuses)
    assert not await Personalize().check(lab.context)
    with pytest.raises(SshRefused):
        await Personalize().apply(lab.context)


@pytest.mark.parametrize(
    ("readiness", "purpose", "is_logged_in_to"),
    [
        ("usable", Purpose.CLUSTER, False),
        ("nodes", Purpose.POOL_MEMBER, False),
        ("booted", Purpose.CLUSTER, True),
        ("usable", Purpose.VERIFICATION, True),
    ],
)
async def test_a_fork_whose_kubernetes_is_waited_for_is_not_logged_in_to_but_its_templates_first_one_is(
    lab: Lab, readiness: Readiness, purpose: Purpose, is_logged_in_to: bool
) -> None:
    spec = make_spec(kubernetes=True, readiness=readiness)
    context = replace(lab.context, cluster=replace(lab.context.cluster, spec=spec, purpose=purpose))
    lab.ssh.never_answers()
    if is_logged_in_to:
        with pytest.raises(SshTimeout):
            await Personalize().apply(context)
    else:
        await Personalize().apply(context)
    assert lab.mark == f"{SECRETS.host_key.public}\n"
    assert await Personalize().check(context) is not is_logged_in_to


async def test_a_machine_that_ends_meanwhile(lab: Lab) -> None:
    lab.ssh.never_answers()
    lab.engine.exit(lab.context.container.name, 1)
    # The agent is gone; the exit code is the better error.
    with pytest.raises(VmExited):
        await Personalize().apply(replace(lab.context))
