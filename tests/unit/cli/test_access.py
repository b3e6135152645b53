"""A server as it is by default: its first token, its unix socket, and the commands about access."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.client.credentials import credentials_file
from tests.support.service import Service, free_port, wait_until_it_answers

Dayfly = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a state folder of its own, and an engine that does not answer."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "DAYFLY_STATE_DIR": f"{folder}/state",
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_LISTEN_SOCKET": f"{folder}/dayfly.sock",
        "DAYFLY_URL": url,
        "DAYFLY_DOCKER_HOST": f"unix://{folder}/no-engine.sock",
    }
    made = Service(url, "default", folder, environment)
    made.start("serve")
    try:
        wait_until_it_answers(made)
        yield made
    finally:
        for process in made.processes:
            process.end()
    assert not Path(f"{folder}/dayfly.sock").exists()


@pytest.fixture(scope="module")
def operator(service: Service) -> str:
    """The operator's first token."""
    file = service.folder / "state/operator-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text().strip()
    logged = service.logs()
    assert str(file) in logged
    assert text.rpartition("_")[2] not in logged
    return text


@pytest.fixture
def dayfly(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dayfly:
    """`dayfly ARGUMENTS` of a user who is not logged in."""
    monkeypatch.setenv("DAYFLY_URL", service.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("DAYFLY_TOKEN", raising=False)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return run


def test_without_a_token(dayfly: Dayfly) -> None:
    refused = dayfly("cluster", "list")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error [unauthenticated]: ")
    assert "hint: dayfly login" in refused.stderr
    assert dayfly("version").exit_code == 0


def test_login_and_logout(dayfly: Dayfly, operator: str, service: Service) -> None:
    refused = dayfly("login", stdin=f"{operator}0\n")
    assert refused.exit_code == 1
    assert not credentials_file().exists()
    assert dayfly("login", stdin="\n").exit_code == 2
    done = dayfly("login", service.url, stdin=f"{operator}\n")
    assert done.exit_code == 0, done.output
    assert "operator of team default" in done.stdout
    assert operator not in done.output
    assert stat.S_IMODE(credentials_file().stat().st_mode) == 0o600
    assert dayfly("cluster", "list").exit_code == 0
    assert "operator" in dayfly("whoami").stdout
    credentials_file().chmod(0o644)
    assert "other users can read it" in dayfly("whoami").stderr
    credentials_file().chmod(0o600)
    assert dayfly("logout").exit_code == 0
    assert dayfly("whoami").exit_code == 1


def test_teams_and_tokens(dayfly: Dayfly, operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_TOKEN", operator)
    assert dayfly("team", "create", "lab", "--description", "us").exit_code == 0
    assert dayfly("team", "change", "lab", "--description", "all of us").stdout == "team lab: all of us\n"
    assert "lab" in dayfly("team", "list").stdout
    made = dayfly("token", "create", "ci", "--team", "lab", "--role", "user", "--expires", "2d")
    text = made.stdout.strip()
    assert text.startswith("dfly_")
    header, line = dayfly("token", "list", "--team", "lab").stdout.splitlines()
    assert header.split() == ["ID", "NAME", "KIND", "TEAM", "ROLE", "STATE", "LAST", "USED", "AGE"]
    token_id = text.split("_")[1]
    assert line.split()[:6] == [token_id, "ci", "service", "lab", "user", "until"]
    monkeypatch.setenv("DAYFLY_TOKEN", text)
    assert json.loads(dayfly("whoami", "--json").stdout) == {
        "principal": f"token:{token_id}",
        "team": "lab",
        "role": "user",
    }
    forbidden = dayfly("token", "list")
    assert forbidden.stderr.startswith("error [forbidden]: listTokens needs the role admin")
    monkeypatch.setenv("DAYFLY_TOKEN", operator)
    assert dayfly("token", "revoke", token_id).exit_code == 0
    assert dayfly("token", "revoke", "0123456789ab").exit_code == 3
    assert dayfly("token", "revoke", "0123456789ab", "--ignore-not-found").exit_code == 0
    monkeypatch.setenv("DAYFLY_TOKEN", text)
    assert "the token is revoked" in dayfly("whoami").stderr
    monkeypatch.setenv("DAYFLY_TOKEN", operator)
    assert dayfly("team", "delete", "lab").exit_code == 0
    assert dayfly("team", "delete", "default").exit_code == 4


def test_a_unix_socket_identifies_its_peer(dayfly: Dayfly, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = service.folder / "dayfly.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    monkeypatch.setenv("DAYFLY_URL", f"unix://{socket}")
    found = json.loads(dayfly("whoami", "--json").stdout)
    assert found == {"principal": f"uid:{os.getuid()}", "team": "default", "role": "operator"}


def test_a_lost_token_is_replaced_on_the_server(
    dayfly: Dayfly, operator: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of this file: it stops the server, which has the SQLite file."""
    assert "database_in_use" in service.cli("token", "reset-operator").stderr
    service.processes.pop().end()
    replaced = service.cli("token", "reset-operator")
    assert replaced.returncode == 0, replaced.stderr
    text = replaced.stdout.strip()
    (service.folder / "state/operator-token").unlink()
    service.start("serve")
    wait_until_it_answers(service)
    assert not (service.folder / "state/operator-token").exists()
    monkeypatch.setenv("DAYFLY_TOKEN", operator)
    assert "the token is revoked" in dayfly("whoami").stderr
    monkeypatch.setenv("DAYFLY_TOKEN", text)
    assert dayfly("whoami").exit_code == 0
