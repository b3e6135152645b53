"""`dayfly oidc check`, and the logins by an issuer that `dayfly login` uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.errors import CommandError, explain
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.main import app
from dayfly.cli.oidc_login import log_in
from dayfly.client import Client, LoginFailed
from dayfly.client.device_login import DeviceCode, IssuedTokens
from dayfly.domain.security.oidc import Issuer
from tests.unit.cli.conftest import INFRASTRUCTURE, Dayfly

FILE = """
[[issuers]]
name = "github"
url = "https://token.actions.githubusercontent.com"
audience = "https://dayfly.example"

[[issuers]]
name = "idle"
url = "https://idle.example"
audience = ["one", "two"]

[[rules]]
name = "production"
issuer = "github"
when = 'environment == "production"'
team = "app"
role = "admin"

[[rules]]
issuer = "github"
when = 'repository == "org/app" && ref matches "refs/heads/*"'
team = "app"
role = "user"
bounds = { max_ttl_seconds = 3600 }

[[rules]]
issuer = "github"
when = "true"
team = "rest"
role = "viewer"
"""
CLAIMS: dict[str, Any] = {
    "iss": "https://token.actions.githubusercontent.com",
    "aud": "https://dayfly.example",
    "sub": "repo:org/app:ref:refs/heads/main",
    "exp": 2,
    "iat": 1,
    "repository": "org/app",
    "ref": "refs/heads/main",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "oidc.toml"
    path.write_text(FILE)
    return path


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["oidc", "check", *map(str, arguments)])


def claims_file(folder: Path, **changes: Any) -> Path:
    path = folder / "claims.json"
    path.write_text(json.dumps({name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}))
    return path


def test_a_valid_file(file: Path) -> None:
    done = check(file)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"{file} is valid"
    assert lines[2].split() == [
        *("github", "https://token.actions.githubusercontent.com", "https://dayfly.example", "RS256", "3", "-")
    ]
    assert lines[4] == "no rule is for the issuer idle: its tokens are refused"
    assert json.loads(check(file, "--json").stdout)["issuers"][1]["rules"] == 0


def test_an_invalid_file_is_one_line(file: Path) -> None:
    file.write_text(FILE.replace('environment == "', 'environment = "'))
    done = check(file)
    assert done.exit_code == ExitCode.USAGE
    assert done.stderr == (
        f"error [oidc_file_invalid]: {file}: rule 1 (production).when: column 13: write == to compare\n"
    )


def test_the_rule_that_matches_and_why_others_do_not(file: Path, tmp_path: Path) -> None:
    done = check(file, "--claims", claims_file(tmp_path))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "rule 1 (production) cannot match: environment is missing",
        'rule 2 matches: repository is "org/app"; ref is "refs/heads/main"',
        "oidc:github:repo:org/app:ref:refs/heads/main: team app, role user, max_ttl_seconds 3600",
    ]
    shown = json.loads(check(file, "--claims", claims_file(tmp_path), "--json").stdout)
    assert (shown["team"], shown["role"], shown["bounds"]) == ("app", "user", {"max_ttl_seconds": 3600})
    assert [one["outcome"] for one in shown["rules"]] == ["cannot match", "matches"]


def test_no_rule_matches(file: Path, tmp_path: Path) -> None:
    file.write_text(FILE.replace('when = "true"', 'when = "false"'))
    done = check(file, "--claims", claims_file(tmp_path, repository="org/other"))
    assert done.exit_code == ExitCode.ERROR
    lines = done.stdout.splitlines()
    assert lines[1] == 'rule 2 does not match: repository is "org/other"; ref is "refs/heads/main"'
    assert lines[2] == "rule 3 does not match"
    assert lines[3] == "no rule for the issuer github matches: a server answers 403 no_rule_matches"


def test_what_a_server_would_refuse_is_said(file: Path, tmp_path: Path) -> None:
    done = check(file, "--claims", claims_file(tmp_path, aud=["x"], iat=None))
    assert done.stdout.splitlines()[-2:] == [
        'but a server refuses this token: `aud` is ["x"], and the issuer\'s audiences are https://dayfly.example',
        "but a server refuses this token: there is no claim `iat`",
    ]


def test_the_issuer_can_be_named(file: Path, tmp_path: Path) -> None:
    path = claims_file(tmp_path, iss=None)
    done = check(file, "--claims", path)
    assert done.exit_code == ExitCode.USAGE
    assert "no issuer has the URL of the claim `iss`, null: give --issuer" in done.stderr
    assert check(file, "--claims", path, "--issuer", "github").exit_code == 0
    assert (
        "the file has no issuer 'gitlab'; it has: github, idle"
        in check(file, "--claims", path, "--issuer", "gitlab").stderr
    )
    other = check(file, "--claims", claims_file(tmp_path), "--issuer", "idle")
    assert other.exit_code == ExitCode.ERROR
    assert "and the issuer's URL is https://idle.example" in other.stdout


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 5000])
def test_claims_that_are_none(file: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "claims.json"
    path.write_bytes(content)
    done = check(file, "--claims", path)
    assert done.exit_code == ExitCode.USAGE
    assert done.stderr.startswith(f"error [invalid_request]: {path} is no")


def test_claims_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in check(file, "--claims", tmp_path / "none.json").stderr


def test_claims_command_no_terminal(file: Path, tmp_path: Path) -> None:
    done = check(file, "--claims", claims_file(tmp_path, ref="\x1b[2J\n", repository="x" * 1000, sub="\x1b[2J"))
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 250


def test_a_login_by_an_issuer_of_the_server(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def play(issuer: Any, show: Any) -> IssuedTokens:
        asked.append(f"{issuer.url} {issuer.client_id} {issuer.scopes}")
        show(DeviceCode("https://issuer.example/device", "AB\x1b", "https://issuer.example/device?c", 600))
        return IssuedTokens("opaque", "head.body.signature")

    people = Issuer("people", "https://issuer.example", ("client",), client_id="client", scopes=("openid", "email"))
    ci = Issuer("ci", "https://ci.example", ("dayfly",))
    monkeypatch.setattr(INFRASTRUCTURE, "login_issuers", (people, ci))
    monkeypatch.setattr("dayfly.cli.oidc_login.log_in_by_device", play)
    with Client(url) as client:
        assert log_in(client, "people").bearer == "head.body.signature"
        with pytest.raises(CommandError, match="no issuer 'ci' for logins; it has: people"):
            log_in(client, "ci")
    assert asked == ["https://issuer.example client ('openid', 'email')"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        r"Open https://issuer.example/device and enter the code AB\x1b",
        "or open https://issuer.example/device?c",
        "The code is valid for 10 min 00 s; Ctrl-C cancels.",
    ]


def test_the_token_of_an_issuer_is_stored(
    dayfly: Dayfly, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with Client(url) as client:  # a token that the server accepts; tests/api/test_oidc.py has those of issuers
        issued = client.create_token("people").token
    tokens = {"people": IssuedTokens("opaque", issued)}
    monkeypatch.setattr("dayfly.cli.login.log_in", lambda _client, issuer: tokens[issuer])
    done = dayfly("login", "--oidc", "people")
    assert done.exit_code == 0, done.output
    assert issued not in done.output
    assert issued in (tmp_path / "dayfly" / "credentials.json").read_text()


def test_a_failed_login_is_one_line() -> None:
    for code, exit_code in (("login_denied", ExitCode.ERROR), ("login_unavailable", ExitCode.UNREACHABLE)):
        explained = explain(LoginFailed(code, "the login was denied"))
        assert explained is not None
        assert (explained.lines, explained.exit_code) == (f"error [{code}]: the login was denied", exit_code)
