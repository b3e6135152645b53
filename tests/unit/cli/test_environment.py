"""Shell, terminal and proxy errors: one line, no traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from dayfly.cli.formatting import printable
from dayfly.cli.progress.cluster import format_event
from dayfly.cli.progress.live import Console, draws
from dayfly.client import Event


def run(url: str, *arguments: str, stdout: int | IO[Any] = subprocess.PIPE, **environment: str) -> tuple[int, bytes]:
    argv = [sys.executable, "-m", "dayfly.cli.main", *arguments]
    cleared = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        argv,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        env={**cleared, "DAYFLY_URL": url, **environment},
    )
    return done.returncode, done.stderr


def assert_one_error(code: int, errors: bytes, expected: str) -> None:
    assert code != 0
    assert b"Traceback" not in errors
    assert errors.decode().startswith(expected), errors


def test_a_socks_proxy_without_its_package() -> None:
    code, errors = run("http://dayfly.example:8700", "cluster", "list", ALL_PROXY="socks5://127.0.0.1:9")
    assert_one_error(code, errors, "error [bad_proxy]: a SOCKS proxy needs the package socksio\n  hint: pip install ")


def test_missing_certificates() -> None:
    code, errors = run("https://dayfly.example", "cluster", "list", SSL_CERT_FILE="/nowhere.pem")
    assert_one_error(code, errors, "error [bad_certificates]: SSL_CERT_FILE: /nowhere.pem does not exist")


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path, why in (
        (tmp_path / "ca.pem", "is no file of certificates"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        code, errors = run("https://dayfly.example", "cluster", "list", SSL_CERT_FILE=str(path))
        expected = f"error [bad_certificates]: SSL_CERT_FILE: {path} {why}\n  hint: unset SSL_CERT_FILE, or set it to "
        assert_one_error(code, errors, expected)
        assert code == 2


def test_an_argument_that_is_not_utf8(url: str) -> None:
    code, errors = run(url, "cluster", "create", os.fsdecode(b"\xff"), "--image", "bare")
    assert (code, errors.decode()) == (2, "error [invalid_request]: an argument is not valid UTF-8\n")


@pytest.mark.parametrize(
    ("arguments", "token", "named"),
    [
        (("cluster", "list"), "s\u00e9cret", "DAYFLY_TOKEN"),
        (("cluster", "list"), "secret\n", "DAYFLY_TOKEN"),
        (("cluster", "create", "--image", "bare", "--idempotency-key", "cl\u00e9"), "", "the idempotency key"),
        (("cluster", "reset", "demo", "--idempotency-key", "a b"), "", "the idempotency key"),
    ],
)
def test_what_no_header_can_have(arguments: tuple[str, ...], token: str, named: str) -> None:
    code, errors = run("http://127.0.0.1:9", *arguments, PYTHONUTF8="1", DAYFLY_TOKEN=token)
    expected = f"error [invalid_request]: {named} must be printable ASCII without spaces\n"
    assert (code, errors.decode()) == (2, expected)


def test_a_url_that_is_not_utf8() -> None:
    code, errors = run(os.fsdecode(b"http://127.0.0.1:9/\xff"), "cluster", "list")
    assert_one_error(code, errors, "error [invalid_request]: the URL 'http://127.0.0.1:9/\\udcff' is not valid UTF-8\n")


def test_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        code, errors = run("http://127.0.0.1:9", "version", stdout=full)
    assert (code, errors.decode()) == (1, "error [not_written]: standard output: No space left on device\n")


@pytest.mark.parametrize("arguments", [("--help",), ("cluster", "--help"), ("--show-completion", "bash"), ()])
def test_a_full_disk_before_any_command_runs(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        code, errors = run(
            "http://127.0.0.1:9", *arguments, stdout=full, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
        )
    assert (code, errors.decode()) == (1, "error [not_written]: standard output: No space left on device\n")


def test_a_latin_1_terminal(url: str) -> None:
    code, errors = run(url, "cluster", "list", "--owner", "\u2620", PYTHONIOENCODING="latin-1")
    assert_one_error(code, errors, "error [invalid_request]: owner: String should match pattern ")


def test_force_color_does_not_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not draws(Console(file=io.StringIO()))


def test_control_characters_are_escaped() -> None:
    assert printable("a\tb\n\x1b[2J\x07\x9b\r\u00e9") == "a\tb\n\\x1b[2J\\x07\\x9b\\x0d\u00e9"
    event = Event.model_validate(
        {
            **dict.fromkeys(("step", "node", "seconds", "code")),
            "id": 1,
            "at": "2026-01-01T00:00:00Z",
            "type": "x",
            "message": "\x1b]0;title\x07",
        }
    )
    assert format_event(event, event.at) == "[     0.0s] \\x1b]0;title\\x07"
