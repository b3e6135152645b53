"""The node container's program: the overlay before QEMU starts."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dayfly.assets import provisioning
from dayfly.domain.cluster import qemu_cmdline
from tests.support.service import docker

pytestmark = pytest.mark.docker

BARE = "dayfly/bare:latest"
BASE = "/dayfly/disk.qcow2"
OVERLAY = "/disks/overlay.qcow2"
SAVED = "/disks/saved.qcow2"
CONSOLE = "/disks/console.log"


@dataclass
class Node:
    """A folder as /disks, with a new container for each start; an existing device replaces the tap."""

    folder: Path
    tap: str = "lo"

    def start(self, action: str, *command: str) -> subprocess.CompletedProcess[str]:
        start = qemu_cmdline.Start(action, command or ("echo", "it runs"))
        (self.folder / "start").write_bytes(qemu_cmdline.start_file(start))
        return self.run()

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        program = provisioning() / "toolbox" / "node"
        return self._run(
            *(*options, "--volume", f"{program}:/node:ro"),
            BARE,
            "/node",
            "/disks/start",
            BASE,
            OVERLAY,
            "9G",
            self.tap,
            CONSOLE,
        )

    def image(self, path: str) -> dict[str, object]:
        told: dict[str, object] = json.loads(self._run(BARE, "qemu-img", "info", "--output=json", path).stdout)
        return told

    def tool(self, *argv: str) -> str:
        done = self._run(BARE, *argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "run", "--rm", "--network", "none", "--volume", f"{self.folder}:/disks", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    assert docker("image", "ls", "--quiet", BARE).strip()
    return Node(tmp_path)


def test_without_a_start_file_its_environment_says_how(node: Node) -> None:
    start = qemu_cmdline.Start("keep", ("printf", "%s|", "a  b", "$HOME", "\\n", "'", '"'))
    [(name, value)] = qemu_cmdline.start_environment(start).items()
    said = node.run("--env", f"{name}={value}")
    assert (said.returncode, said.stdout) == (0, "a  b|$HOME|\\n|'|\"|"), said.stderr
    assert node.image(OVERLAY)["backing-filename"] == BASE
    # A start file is newer than the variable, which the container got at its creation.
    (node.folder / "start").write_bytes(qemu_cmdline.start_file(qemu_cmdline.Start("keep", ("echo", "later"))))
    assert node.run("--env", f"{name}={value}").stdout == "later\n"


def test_with_neither_it_says_so(node: Node) -> None:
    said = node.run()
    assert said.returncode != 0
    assert qemu_cmdline.START_VARIABLE in said.stderr
    assert not (node.folder / "overlay.qcow2").exists()


def test_a_blank_overlay_is_made_once_and_kept(node: Node) -> None:
    first = node.start("keep")
    assert (first.returncode, first.stdout) == (0, "it runs\n"), first.stderr
    told = node.image(OVERLAY)
    assert (told["backing-filename"], told["virtual-size"]) == (BASE, 9 << 30)
    node.tool("qemu-io", "-c", "write -P 7 0 64k", OVERLAY)
    assert node.start("keep").returncode == 0
    assert "read 65536" in node.tool("qemu-io", "-c", "read -P 7 0 64k", OVERLAY)


def test_a_forks_overlay_lies_over_its_templates_and_is_new_with_each_start(node: Node) -> None:
    node.tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", BASE, SAVED, "9G")
    node.tool("qemu-io", "-c", "write -P 5 0 64k", SAVED)
    assert node.start("keep").returncode == 0
    for _ in range(2):
        assert node.start(f"over {SAVED}").returncode == 0
        assert node.image(OVERLAY)["backing-filename"] == SAVED
        assert "Pattern verification failed" not in node.tool("qemu-io", "-c", "read -P 5 0 64k", OVERLAY)
        node.tool("qemu-io", "-c", "write -P 7 0 64k", OVERLAY)
    assert "Pattern verification failed" not in node.tool("qemu-io", "-r", "-c", "read -P 5 0 64k", SAVED)


def test_a_checkpoints_overlay_is_copied_and_what_was_there_is_gone(node: Node) -> None:
    node.tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", BASE, SAVED, "9G")
    node.tool("qemu-io", "-c", "write -P 5 0 64k", SAVED)
    assert node.start("keep").returncode == 0
    assert node.start(f"copy {SAVED}").returncode == 0
    assert node.image(OVERLAY)["backing-filename"] == BASE
    assert (node.folder / "overlay.qcow2").read_bytes() == (node.folder / "saved.qcow2").read_bytes()


def test_arguments_come_through_as_they_are(node: Node) -> None:
    words = ("a  b", "$HOME", "*", "'", '"', "\\n", "-append", "root=/dev/vda rw")
    assert node.start("keep", "printf", "%s|", *words).stdout == "".join(f"{word}|" for word in words)


def test_a_console_that_is_flooded_keeps_its_end(node: Node) -> None:
    flood = f"yes a line | head -c 30000000 >> {CONSOLE}; echo before >> {CONSOLE}"
    # The log is empty for a moment: it is shorter for good once its end was put back.
    busy = f"[ $(stat -c %s {CONSOLE}) -gt 2000000 ] || [ -e {CONSOLE}.end ]"
    shrunk = f"while {busy}; do sleep 0.1; done; echo after >> {CONSOLE}"
    done = node.start("keep", "timeout", "60", "sh", "-c", f"{flood}; {shrunk}")
    assert done.returncode == 0, done.stderr
    log = (node.folder / "console.log").read_text()
    assert log.endswith("before\nafter\n")
    assert len(log) < 1_100_000
    assert not (node.folder / "console.log.end").exists()


@pytest.mark.parametrize("action", ["remove", "", "over /disks/none.qcow2", "copy /disks/none.qcow2"])
def test_what_cannot_be_done_ends_it_and_leaves_no_half_overlay(node: Node, action: str) -> None:
    done = node.start(action)
    assert done.returncode != 0
    assert done.stderr
    assert "it runs" not in done.stdout
    assert not (node.folder / "overlay.qcow2").exists()
