"""The file of OIDC issuers and rules: what it may say, and that a changed file is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dayfly.domain.security.oidc import ALGORITHMS
from dayfly.domain.security.principal import UNBOUNDED, Bounds, Role
from dayfly.errors import OidcFileInvalid
from dayfly.oidc.rules_file import RulesFile, read_rules
from tests.support.clock import FakeClock

ISSUER = """
[[issuers]]
name = "github"
url = "https://token.actions.githubusercontent.com"
audience = "https://dayfly.example"
"""
RULE = """
[[rules]]
name = "main"
issuer = "github"
when = 'repository == "org/app" && ref == "refs/heads/main"'
team = "app"
role = "user"
bounds = { max_ttl_seconds = 3600, max_nodes = 3 }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oidc.toml"


def test_a_file_is_read(path: Path) -> None:
    path.write_text(
        ISSUER
        + """
[[issuers]]
name = "gitlab"
url = "https://gitlab.example/"
audience = ["https://dayfly.example", "client"]
algorithms = ["RS256", "ES256"]
leeway_seconds = 5
ca_file = "/etc/dayfly/authority.pem"
client_id = "client"
scopes = ["openid", "groups_direct"]
"""
        + RULE
        + """
[[rules]]
issuer = "gitlab"
when = "true"
team = "default"
role = "viewer"
"""
    )
    read = read_rules(path)
    github, gitlab = read.issuers
    assert (github.audiences, github.algorithms, github.leeway_seconds) == (("https://dayfly.example",), ("RS256",), 60)
    assert (github.ca_file, github.client_id, github.allow_http) == (None, None, False)
    assert (gitlab.audiences, gitlab.algorithms) == (("https://dayfly.example", "client"), ("RS256", "ES256"))
    assert (gitlab.ca_file, gitlab.client_id) == (Path("/etc/dayfly/authority.pem"), "client")
    assert gitlab.scopes == ("openid", "groups_direct")
    main, other = read.rules
    assert (main.name, main.team, main.role) == ("rule 1 (main)", "app", Role.USER)
    assert main.bounds == Bounds(max_ttl_seconds=3600, max_nodes=3)
    assert (other.name, other.bounds) == ("rule 2", UNBOUNDED)


def test_an_empty_file_has_no_issuer(path: Path) -> None:
    path.write_text("")
    assert read_rules(path).issuers == ()


def _issuer(old: str, new: str) -> str:
    assert old in ISSUER
    return ISSUER.replace(old, new) + RULE


def _rule(old: str, new: str) -> str:
    assert old in RULE
    return ISSUER + RULE.replace(old, new)


AUDIENCE = 'audience = "https://dayfly.example"'
URL = "https://token.actions.githubusercontent.com"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[[issuers]\n", "is not TOML: Expected ']]'"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("speed = 5", "speed: Extra inputs are not permitted"),
        (_issuer(AUDIENCE, "key = 5"), "issuer 1 (github).audience: Field required"),
        (_issuer(AUDIENCE, "audience = []"), "issuer 1 (github).audience: "),
        (_issuer(AUDIENCE, 'audience = ""'), "issuer 1 (github).audience 1: "),
        (_issuer("https://token", "http://token"), "is no https:// URL"),
        (_issuer(URL, "https://user:word@lab.example"), "is no https:// URL"),
        (_issuer(URL, "https://"), "is no https:// URL"),
        (_issuer(URL, "https://lab.example/?a=b"), "has no `?` and no `#`"),
        (_issuer(AUDIENCE, f'{AUDIENCE}\nalgorithms = ["HS256"]'), "HS256 is not accepted: only signatures by asymm"),
        (_issuer(AUDIENCE, f'{AUDIENCE}\nalgorithms = ["none"]'), "none is not accepted"),
        (_issuer(AUDIENCE, f"{AUDIENCE}\nalgorithms = []"), "issuer 1 (github).algorithms"),
        (_issuer(AUDIENCE, f"{AUDIENCE}\nleeway_seconds = 3600"), "issuer 1 (github).leeway_seconds"),
        (_issuer(AUDIENCE, f'{AUDIENCE}\nclient_id = "client"'), "`audience` lacks the client_id, 'client'"),
        (_issuer(AUDIENCE, f'{AUDIENCE}\nca_file = "ca.pem"'), "'ca.pem' is no absolute path"),
        (_issuer('name = "github"', 'name = "git:hub"'), "issuer 1 (git:hub).name: "),
        (ISSUER + ISSUER, "two issuers have the name github; two issuers have the URL https://token"),
        (_rule('"github"', '"gitlab"'), "rule 1 (main): there is no issuer 'gitlab'; the file has: github"),
        (_rule(" == ", " = "), "rule 1 (main).when: column 12: write == to compare"),
        (_rule('"user"', '"root"'), "rule 1 (main).role: Input should be 'viewer', 'user', 'admin' or 'operator'"),
        (_rule('"app"\n', '"App"\n'), "rule 1 (main).team: "),
        (_rule("3600", "0"), "rule 1 (main).bounds.max_ttl_seconds: "),
        (_rule("max_nodes", "max_node"), "rule 1 (main).bounds.max_node: Extra inputs are not permitted"),
        (ISSUER + RULE + RULE, "two rules have the name 'main'"),
        ("rules = 5", "rules: Input should be a valid tuple"),
        ("[[rules]]\n" * 20, "and "),
    ],
)
def test_an_error_names_the_entry(path: Path, content: str, reason: str) -> None:
    path.write_text(content)
    with pytest.raises(OidcFileInvalid) as caught:
        read_rules(path)
    assert caught.value.message.startswith(str(path))
    assert reason in caught.value.message


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    with pytest.raises(OidcFileInvalid, match=r"oidc\.toml cannot be read: No such file"):
        read_rules(path)
    path.write_bytes(b"#\xff")
    with pytest.raises(OidcFileInvalid, match="is not UTF-8, from byte 1 on"):
        read_rules(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(OidcFileInvalid, match="has more than 1 MiB"):
        read_rules(path)


def test_plain_http_is_for_this_machine_and_only_on_request(path: Path) -> None:
    local = ISSUER.replace(URL, "http://127.0.0.1:8080")
    path.write_text(local)
    with pytest.raises(OidcFileInvalid, match="no https:// URL"):
        read_rules(path)
    path.write_text(f"{local}allow_http = true")
    assert read_rules(path).issuers[0].allow_http
    path.write_text(f"{ISSUER.replace('https://token', 'http://token')}allow_http = true")
    with pytest.raises(OidcFileInvalid, match="no https:// URL"):
        read_rules(path)


def test_no_symmetric_algorithm_can_be_allowed() -> None:
    assert not [name for name in ALGORITHMS if name.startswith("HS") or name == "none"]


def test_a_changed_file_is_read_again(path: Path) -> None:
    path.write_text(ISSUER + RULE)
    clock = FakeClock()
    file = RulesFile(path, clock)
    path.write_text(ISSUER + RULE + RULE.replace('"main"', '"second"'))
    assert len(file.current().rules) == 1, "the file is looked at once a second"
    clock.advance(1)
    with capture_logs() as logged:
        assert len(file.current().rules) == 2
    assert [(line["event"], line["rules"]) for line in logged] == [("the OIDC rules were read again", 2)]


def test_a_file_that_is_replaced_by_one_of_the_same_size_is_read_again(path: Path) -> None:
    path.write_text(ISSUER + RULE)
    at = path.stat().st_mtime_ns
    clock = FakeClock()
    file = RulesFile(path, clock)
    other = path.with_name("new")
    other.write_text(ISSUER + RULE.replace('"app"\n', '"lab"\n'))
    os.utime(other, ns=(at, at))
    other.replace(path)
    clock.advance(1)
    assert file.current().rules[0].team == "lab"


def test_a_changed_file_with_an_error_changes_nothing_and_says_so_once(path: Path) -> None:
    path.write_text(ISSUER + RULE)
    clock = FakeClock()
    file = RulesFile(path, clock)
    path.write_text(ISSUER + RULE.replace(" == ", " = "))
    with capture_logs() as logged:
        for _ in range(3):
            clock.advance(1)
            assert file.current().rules[0].team == "app"
    (line,) = logged
    assert (line["event"], line["log_level"]) == (
        "the OIDC rules have an error; the former rules stay in force",
        "error",
    )
    assert "column 12: write == to compare" in line["reason"]
    assert file.problem == line["reason"]
    path.unlink()
    clock.advance(1)
    assert file.current().rules[0].team == "app"
    assert "cannot be read" in str(file.problem)
    path.write_text(ISSUER + RULE.replace('"app"\n', '"lab"\n'))
    clock.advance(1)
    assert file.current().rules[0].team == "lab"
    assert file.problem is None


def test_a_server_does_not_start_with_a_wrong_file(path: Path) -> None:
    path.write_text(ISSUER + RULE.replace(" == ", " = "))
    with pytest.raises(OidcFileInvalid):
        RulesFile(path, FakeClock())
