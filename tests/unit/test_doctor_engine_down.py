"""Why an engine does not answer: each cause has its own socket state and advice."""

from __future__ import annotations

import errno
import grp
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dayfly.doctor import engine_down as module
from dayfly.doctor.checks import Check, Host
from dayfly.doctor.engine_down import engine_down

SOCKET = "/run/docker.sock"
DEFAULT = (f"unix://{SOCKET}", None)


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, for a socket's path has at most 107 characters."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run").mkdir()
        yield Path(folder)


def judged(root: Path, address: tuple[str, str | None] = DEFAULT, *, programs: tuple[str, ...] = ()) -> Check:
    host = Host(root=root, which=lambda tool: tool if tool in programs else None)
    check = engine_down(host, *address, "ping: it broke")
    assert (check.name, check.status) == ("engine", "fail")
    assert check.advice
    return check


@pytest.mark.parametrize(
    ("programs", "found", "advice"),
    [
        (("dockerd", "docker"), "the engine does not run", "systemctl start docker"),
        (("docker",), "the docker command alone is not an engine", "apt-get install docker.io"),
        (("podman",), "Podman does not listen", "systemctl start podman.socket"),
        ((), "no container engine is installed", "apt-get install docker.io"),
    ],
)
def test_without_a_socket_it_depends_on_what_is_installed(
    root: Path, programs: tuple[str, ...], found: str, advice: str
) -> None:
    check = judged(root, programs=programs)
    assert found in check.found
    assert advice in check.advice


@pytest.mark.parametrize("setting", ["DAYFLY_DOCKER_HOST", "DOCKER_HOST"])
def test_a_setting_that_names_no_socket_is_named_itself(root: Path, setting: str) -> None:
    check = judged(root, ("unix:///run/nope.sock", setting), programs=("dockerd",))
    assert "/run/nope.sock" in check.found
    assert f"correct {setting}" in check.advice
    (root / "run/file").touch()
    check = judged(root, ("unix:///run/file", setting))
    assert (check.found, check.advice) == ("/run/file is not a socket", f"correct {setting}")
    check = judged(root, ("/var/run/docker.sock", setting))
    assert f"set {setting} to a URL" in check.advice
    check = judged(root, ("tcp://127.0.0.1:9", setting))
    assert "ping: it broke" in check.found
    assert f"correct {setting}" in check.advice


def test_a_socket_that_nobody_listens_at(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(root / SOCKET.lstrip("/")))
    check = judged(root)
    assert check.found == f"no process listens at {SOCKET}"
    assert "journalctl -u docker" in check.advice


def test_an_engine_that_listens_and_does_not_answer(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(root / SOCKET.lstrip("/")))
        engine.listen()
        check = judged(root)
    assert check.found == "ping: it broke"
    assert "restart" in check.advice


def test_a_socket_that_this_user_may_not_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / SOCKET.lstrip("/")).touch()
    monkeypatch.setattr(module, "_connect", lambda _: errno.EACCES)
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("docker", "x", 998, [])))
    check = judged(root)
    assert check.found == f"this user may not open {SOCKET}"
    assert check.advice == "usermod -aG docker USER as root, then log in again"
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("root", "x", 0, [])))
    assert "root" in judged(root).advice
