"""Saving and restoring the registry's content: the real scripts, on the test's files."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed, LeaseLost
from dayfly.steps.vm.snapshot_files import empty_registry, load_registry, save_registry
from dayfly.testing.fakes import FakeContainer, FakeEngine
from tests.support.specs import make_spec

CHECKPOINT = BootSource("checkpoint", "before")


@dataclass
class Lab:
    """`content` and `saved`: what the registry's container has at /var/lib/registry and /saved."""

    content: Path
    saved: Path
    engine: FakeEngine
    topology: Topology

    async def save(self, *, fence: int) -> None:
        await save_registry(self.engine, self.topology, CHECKPOINT, fence=fence, timeout=10)

    async def empty(self, *, fence: int) -> None:
        await empty_registry(self.engine, self.topology, fence=fence, timeout=10)

    async def load(self) -> None:
        await load_registry(self.engine, self.topology, CHECKPOINT, timeout=10)

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.saved)) for path in self.saved.rglob("*") if path.is_file())


@pytest.fixture
async def lab(tmp_path: Path) -> Lab:
    engine = FakeEngine()
    topology = compute_topology("c1", make_spec(), instance="default", accelerator="tcg", publication=Publication())
    lab = Lab(tmp_path / "content", tmp_path / "saved", engine, topology)
    lab.saved.mkdir()
    (lab.content / "docker").mkdir(parents=True)
    (lab.content / "docker" / "layer").write_text("pushed")

    def run(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
        assert container.spec.role == "registry"
        here = [
            word.replace("/var/lib/registry", str(lab.content)).replace("/saved/", f"{lab.saved}/") for word in argv
        ]
        ended = subprocess.run(here, input=stdin, capture_output=True, check=False, timeout=30)
        return ExecResult(ended.returncode, ended.stdout, ended.stderr)

    engine.on_exec(run)
    for container in (topology.net, topology.registry):
        await engine.ensure(container)
    return lab


async def test_what_was_kept_comes_back_and_nothing_else_stays(lab: Lab) -> None:
    await lab.save(fence=1)
    (lab.content / "docker" / "layer").write_text("pushed over it")
    (lab.content / "another").write_text("pushed later")
    await lab.load()
    assert [path.name for path in lab.content.rglob("*") if path.is_file()] == ["layer"]
    assert (lab.content / "docker" / "layer").read_text() == "pushed"


async def test_emptied_it_has_nothing_and_takes_what_is_pushed(lab: Lab) -> None:
    await lab.empty(fence=1)
    assert list(lab.content.iterdir()) == []


async def test_an_earlier_claim_empties_nothing(lab: Lab) -> None:
    await lab.empty(fence=2)
    (lab.content / "pushed").write_text("later")
    with pytest.raises(LeaseLost):
        await lab.empty(fence=1)
    assert [path.name for path in lab.content.iterdir()] == ["pushed"]


async def test_kept_again_it_replaces_what_was_there(lab: Lab) -> None:
    await lab.save(fence=1)
    (lab.content / "docker" / "layer").rename(lab.content / "other")
    await lab.save(fence=2)
    assert lab.left() == [".fence", "checkpoints/before/registry/other"]


async def test_whose_claim_is_anothers_by_now_changes_nothing(lab: Lab) -> None:
    await lab.save(fence=2)
    (lab.content / "another").write_text("pushed later")
    with pytest.raises(LeaseLost):
        await lab.save(fence=1)
    assert lab.left() == [".fence", "checkpoints/before/registry/docker/layer"]


async def test_content_that_cannot_be_copied_leaves_nothing(lab: Lab) -> None:
    (lab.content / "docker" / "layer").unlink()
    (lab.content / "docker").rmdir()
    lab.content.rmdir()
    with pytest.raises(CommandFailed) as caught:
        await lab.save(fence=1)
    assert "No such file" in caught.value.evidence["stderr"]
    assert lab.left() == []
