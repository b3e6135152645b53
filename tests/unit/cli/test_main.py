"""The command as a whole: help, errors, exit codes, and what works without the server's packages."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from dayfly import __version__ as dayfly_version
from dayfly import errors
from dayfly.cli import formatting
from dayfly.cli.errors import explain
from dayfly.cli.exit_codes import ExitCode
from dayfly.client import ApiError

Dayfly = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("registry", "nothing"), "not_found"),
        (("create", "demo", "--image", "nothing"), "image_missing"),
        (("create", "demo", "--image", "plain"), "not_a_node_image"),
        (("create", "Demo", "--image", "bare"), "bad_name"),
        (("create", "demo", "--image", "bare", "--vcpus", "99"), "capacity"),
        (("create", "demo", "--image", "bare", "--workers", "99"), "too_many_nodes"),
        (("create", "demo", "--image", "bare", "--owner", "A"), "invalid_request"),
        (("create", "demo", "--image", "bare", "--heartbeat", "1s"), "invalid_request"),
        (("create", "demo", "--image", "bare", "--hold", "9d"), "invalid_request"),
        (("show", "nothing"), "not_found"),
        (("extend", "nothing", "--ttl", "2h"), "not_found"),
        (("hold", "nothing"), "not_found"),
        (("unhold", "nothing"), "not_found"),
        (("heartbeat", "nothing"), "not_found"),
        (("diagnostics", "nothing"), "not_found"),
        (("kubeconfig", "nothing"), "not_found"),
        (("list", "--phase", "gone"), "invalid_request"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(dayfly: Dayfly, arguments: tuple[str, ...], code: str) -> None:
    done = dayfly("cluster", *arguments)
    exit_code = {"not_found": 3, "image_missing": 3, "capacity": 5}.get(code, 2)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr.splitlines()[0].startswith(f"error [{code}]: ")
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("cluster", "create", "demo"),
        ("cluster", "create", "demo", "--image", "bare", "--workers", "-1"),
        ("cluster", "create", "demo", "--image", "bare", "--ttl", "soon"),
        ("cluster", "create", "demo", "--image", "bare", "--label", "x"),
        ("cluster", "create", "demo", "--image", "bare", "--hold-reason", "x"),
        ("cluster", "create", "demo", "--image", "bare", "--restart", "sometimes"),
        ("cluster", "extend", "demo"),
        ("cluster", "hold", "demo", "--vms", "paused"),
        ("cluster", "heartbeat", "demo", "--every", "0.1s"),
        ("cluster", "kubeconfig", "demo", "--merge", "--output", "x"),
        ("cluster", "show", "demo", "--wait", "never"),
        ("cluster", "unknown"),
        ("unknown",),
    ],
)
def test_wrong_usage_ends_with_2(dayfly: Dayfly, arguments: tuple[str, ...]) -> None:
    done = dayfly(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_no_server_says_how_to_start_it(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_URL", "http://127.0.0.1:9")
    done = dayfly("cluster", "list")
    assert done.exit_code == 8
    assert done.stderr.startswith("error [unreachable]: no answer from http://127.0.0.1:9")
    assert "dayfly serve" in done.stderr
    assert json.loads(dayfly("version", "--json").stdout)["server"] is None


def test_help_has_the_exit_codes(dayfly: Dayfly) -> None:
    assert set(ExitCode) == {*range(9), 130}
    text = dayfly("--help").stdout
    for code in ("0 success", "2 usage", "3 not found", "6 timeout", "8 server", "130 interrupted"):
        assert code in " ".join(text.replace("│", "").split())


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.NotReady("x"), 4),
        (errors.NotFound("x"), 3),
        (errors.InvalidRequest("x"), 2),
        (errors.ImageMissing("x"), 3),
        (errors.EngineUnavailable("x"), 8),
        (errors.BakeFailed("x"), 7),
        (errors.DiskFull("x"), 5),
        (errors.Internal("x"), 1),
        (ApiError("engine_unavailable", 503, "x", {}), 8),
        (ApiError("name_taken", 409, "x", {}), 4),
        (ApiError("unauthorized", 401, "x", {}), 1),
    ],
)
def test_errors_have_exit_codes(error: Exception, exit_code: int) -> None:
    explanation = explain(error)
    assert explanation is not None
    assert explanation.exit_code == exit_code


def test_a_shell_completes_commands(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DAYFLY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "dayfly cluster regi")
    monkeypatch.setenv("COMP_CWORD", "2")
    argv = [sys.executable, "-m", "dayfly.cli.main"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["registry"], done.stderr
    assert "--install-completion" in dayfly("--help").stdout


def test_hints_name_the_machine_where_the_command_helps(dayfly: Dayfly) -> None:
    hints = {
        error: explanation.hint
        for error in (errors.EngineUnavailable("x"), errors.NotFound("x"), ApiError("engine_unavailable", 503, "x", {}))
        if (explanation := explain(error)) is not None
    }
    assert list(hints.values()) == ["dayfly doctor", None, "run `dayfly doctor` on the server"]
    asked = dayfly("cluster", "create", "demo", "--image", "nothing")
    assert "hint" not in asked.stderr, "the server's sentence has it"


def test_the_version_of_a_server_that_is_not_dayfly(dayfly: Dayfly, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setenv("DAYFLY_URL", f"http://127.0.0.1:{other.server_port}")
        shown = dayfly("version")
        other.shutdown()
    assert shown.exit_code == 0
    client, server = shown.stdout.splitlines()
    assert client == f"client  {dayfly_version}"
    assert server.startswith("server  not known (http://127.0.0.1:")


def test_version(dayfly: Dayfly) -> None:
    found = json.loads(dayfly("version", "--json").stdout)
    assert found["client"] == found["server"]


def test_help_lists_every_command_but_hidden_ones(dayfly: Dayfly) -> None:
    text = dayfly("--help").stdout
    for name in ("serve", "cluster", "image", "doctor", "version"):
        assert name in text
    assert "openapi" not in text


def test_openapi_prints_the_contract(dayfly: Dayfly) -> None:
    committed = (Path(__file__).parents[3] / "openapi.json").read_text(encoding="utf-8")
    assert dayfly("openapi").stdout == committed


@pytest.mark.parametrize("command", [["serve"], ["openapi"]])
def test_a_servers_command_without_the_server_says_what_to_install(command: list[str]) -> None:
    code = (
        "import sys\n"
        "for name in ('fastapi', 'structlog', 'sqlalchemy', 'uvicorn', 'pydantic_settings'): sys.modules[name] = None\n"
        f"sys.argv = ['dayfly', *{command!r}]\n"
        "from dayfly.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error [not_installed]: ")
    assert "pip install '.[server]'" in done.stderr


def test_the_clients_commands_load_nothing_of_the_server() -> None:
    code = "import sys, dayfly.cli.main, dayfly.cli.cluster, dayfly.cli.version; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"fastapi", "sqlalchemy", "structlog", "pydantic_settings", "cryptography"} & set(loaded)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert formatting.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1h 30m", "1e9", "inf", "1m30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        formatting.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (245, "4 min 05 s"), (7384, "2 h 03 min")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert formatting.format_duration(seconds) == text


def test_evidence_without_trials_is_refused(dayfly: Dayfly) -> None:
    refused = dayfly("doctor", "--keep-evidence", "somewhere")
    assert refused.exit_code == 2
    assert "only --full makes evidence" in refused.stderr
