"""deploy/engine.sh: finds, installs, starts and awaits an engine; failures have a reason and a remedy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.shell import Shell, make_shell

SILENT = 'echo "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?" >&2; exit 1'
ENSURE = "part engine ensure_engine $STATE_DIR/dockerd.log; [[ -z $STARTED_ENGINE ]] || kill $STARTED_ENGINE"
DEBIAN_13 = '[ "$2" = docker-cli ] && echo "docker-cli | 26.1.5 | mirror"'
INSTALLS_AN_ENGINE = """case " $* " in *download-only* | *" update "*) exit ;; esac
for package; do
    case $package in docker-cli) client=yes ;; docker.io) [ -e debian-13 ] || client=yes ;; esac
done
[ -z "$client" ] || { printf '#!/bin/bash\\necho 26.1.5\\n' >bin/docker; chmod +x bin/docker; }"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = make_shell(tmp_path)
    shell.stand_in("dpkg-query", "")
    shell.stand_in("apt-get", INSTALLS_AN_ENGINE)
    shell.stand_in("apt-cache", "")
    return shell


def installed(shell: Shell) -> list[str]:
    """The packages that apt-get had to install, not only to download."""
    for call in shell.calls("apt-get install"):
        if "--download-only" not in call:
            return call.partition("Use-Pty=0 ")[2].split()
    return []


def test_nothing_is_installed_where_an_engine_answers(shell: Shell) -> None:
    shell.stand_in("docker", "echo 20.10")
    assert shell.run(ENSURE).code == 0
    assert shell.calls("apt-get") == []


def test_debian_12_gets_the_engine_with_its_client(shell: Shell) -> None:
    assert shell.run(ENSURE).code == 0
    assert installed(shell) == ["docker.io"]


def test_debian_13_gets_the_client_by_its_own_name(shell: Shell) -> None:
    shell.stand_in("apt-cache", DEBIAN_13)
    (shell.folder / "debian-13").touch()
    assert shell.run(ENSURE).code == 0
    assert installed(shell) == ["docker-cli", "docker.io"]


def test_an_engine_without_a_client_gets_one(shell: Shell) -> None:
    shell.stand_in("apt-cache", DEBIAN_13)
    shell.stand_in("dockerd", "exit 1")
    assert shell.run(ENSURE).code == 0
    assert installed(shell) == ["docker-cli"]


def test_apt_says_why_an_engine_without_a_client_gets_none(shell: Shell) -> None:
    shell.stand_in("dockerd", "exit 1")
    shell.stand_in("apt-get", '[ "$1" = update ] || { echo "E: Could not resolve mirror; Failed to fetch"; exit 100; }')
    result = shell.run(ENSURE)
    assert result.code == 1
    assert "apt's archive cannot be reached" in result.said


def test_a_client_whose_engine_is_elsewhere_and_silent(shell: Shell) -> None:
    shell.stand_in("docker", SILENT)
    shell.stand_in("dockerd", "touch started")
    result = shell.run(f"DOCKER_HOST=tcp://lab:2375; {ENSURE}")
    assert result.code == 1
    assert "the engine at tcp://lab:2375 does not answer: start it, or set DAYFLY_DOCKER_HOST" in result.said
    assert "Is the docker daemon running?" in result.said
    assert shell.calls("dockerd") + shell.calls("apt-get") == []


def test_a_client_beside_a_socket_that_nobody_listens_on(shell: Shell) -> None:
    shell.stand_in("docker", SILENT)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shell.folder / "docker.sock"))
        result = shell.run(ENSURE)
    assert result.code == 1
    assert "a client is here, but no engine answers" in result.said
    assert "Is the docker daemon running?" in result.said


def test_a_user_who_may_not_open_the_socket(shell: Shell) -> None:
    shell.stand_in("docker", 'echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1')
    shell.stand_in("dockerd", "touch started")
    result = shell.run(f"id() {{ echo alice; }}; {ENSURE}")
    assert result.code == 1
    assert "sudo usermod -aG docker alice      # then log in again" in result.said
    assert not (shell.folder / "started").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "unable to configure the Docker daemon with file /etc/docker/daemon.json: x",
            "refuses its configuration: correct",
        ),
        (
            "failed to start daemon: mkdir /var/lib/docker/tmp: no space left on device",
            "the disk is full: free some space",
        ),
        ("failed to start daemon: something new", "dockerd ended at once (exit code 3); its output is above"),
    ],
)
def test_an_engine_that_ends_at_once_is_heard(shell: Shell, words: str, sentence: str) -> None:
    shell.stand_in("docker", SILENT)
    shell.stand_in("dockerd", f'echo "{words}" >&2; exit 3')
    result = shell.run(ENSURE)
    assert result.code == 1
    assert words in result.said
    assert sentence in result.said
    assert "exit code 3" in result.said


def test_an_engine_that_never_answers_is_waited_for_aloud_and_then_explained(shell: Shell) -> None:
    shell.stand_in("docker", SILENT)
    shell.stand_in("dockerd", "echo my last words; exec sleep 60")
    result = shell.run(f"trap 'stop_own_engine' EXIT; ENGINE_PATIENCE=11; {ENSURE}")
    assert result.code == 1
    assert "waiting until the engine answers" in result.said
    assert "still waiting after 10 s: Cannot connect" in result.said
    assert "my last words" in result.said
    assert "the engine does not answer at" in result.said


def test_an_engine_that_answers_after_a_while_will_do(shell: Shell) -> None:
    shell.stand_in("docker", f"[ -e ready ] || {{ {SILENT}; }}")
    shell.stand_in("dockerd", "sleep 0.1; touch ready; exec sleep 60")
    result = shell.run(f"{ENSURE}; echo up=$ENGINE_IS_UP")
    assert result.code == 0
    assert "up=yes" in result.said
