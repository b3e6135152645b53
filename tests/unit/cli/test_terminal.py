"""No control character from a server reaches the terminal: any command, any format."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import typer.main
from typer.testing import CliRunner

from dayfly.cli.main import app
from dayfly.cli.progress.live import Console
from dayfly.vocabulary import OutputFormat

ROOT: Final = Path(__file__).parents[3]
CLI: Final = ROOT / "service" / "dayfly" / "cli"
OPENAPI: Final = json.loads((ROOT / "openapi.json").read_text())
HOSTILE: Final = "\x1b]0;owned\x07\x9b2J\r[bold]x"
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SHAPED: Final = {"id": "0123456789ab", "name": "demo", "code": "boot", "step": "boot", "node": "node01"}
"""Fields whose shape the client checks (test_hostile_server.py)."""
SHAPED_TOO: Final = {"error_code", "template", "pool", "builder", "cluster", "checkpoint", "host", "addons", "needs"}


def hostile(schema: dict[str, Any], field: str = "") -> Any:
    """A value of the schema whose every text is hostile."""
    if "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return hostile(next(one for one in schema["anyOf"] if one.get("type") != "null"), field)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values[0] if values else _of_type(schema, field)


def _of_type(schema: dict[str, Any], field: str) -> Any:
    match schema.get("type"):
        case "object" if "properties" in schema:
            value: Any = {name: hostile(one, name) for name, one in schema["properties"].items()}
        case "object":
            of = schema.get("additionalProperties")
            value = {HOSTILE: hostile(of) if isinstance(of, dict) else HOSTILE}
        case "array":
            value = [hostile(schema["items"], field)]
        case "integer" | "number":
            value = max(1, schema.get("minimum", 1))
        case "boolean":
            value = False
        case _ if schema.get("format") == "date-time":
            value = "2026-01-01T00:00:00Z"
        case _:
            value = SHAPED.get(field) or ("demo" if field in SHAPED_TOO else HOSTILE)
    return value


def answer(request: httpx.Request) -> httpx.Response:
    """Hostile answers of the shapes in the API's description; heartbeats are refused."""
    if request.url.path.endswith("/heartbeat"):
        problem = {"code": "invalid_request", "detail": HOSTILE, "instance": HOSTILE}
        return httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"})
    for path, methods in OPENAPI["paths"].items():
        operation = methods.get(request.method.lower())
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        if operation is not None and re.fullmatch(pattern, request.url.path):
            good = operation["responses"][max(code for code in operation["responses"] if code.startswith("2"))]
            content = good.get("content", {}).get("application/json")
            if content is None:
                return httpx.Response(200, text=HOSTILE)
            value = hostile(content["schema"])
            if "next_cursor" in value:
                value["next_cursor"] = None
            if request.url.params.get("after") not in {None, "0"}:
                value["events"] = []
            return httpx.Response(200, json=value)
    return httpx.Response(404, html=HOSTILE)


@pytest.fixture(autouse=True)
def _hostile_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: answer(request))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


ARGUMENTS: Final = {
    "cluster create": ("demo", "--image", "bare"),
    "cluster list": (),
    "cluster idle": ("demo", "--never"),
    "cluster extend": ("demo", "--ttl", "1h"),
    "cluster checkpoint create": ("demo", "demo"),
    "cluster checkpoint delete": ("demo", "demo"),
    "template create": ("--image", "bare"),
    "template list": (),
    "template show": ("0123456789ab",),
    "template delete": ("0123456789ab",),
    "pool create": ("demo", "--image", "bare", "--size", "1"),
    "pool list": (),
    "addon list": (),
    "status": (),
    "version": (),
}
"""Arguments of commands that take more, or less, than a name."""
NO_RESOURCE: Final = {"cluster ssh", "cluster console", "cluster kubeconfig", "cluster diagnostics", "addon fetch"}
"""They pass on a session, a text or a file; `addon fetch` asks no server of Dayfly."""


def leaves() -> dict[str, Any]:
    """Each command that talks to a server."""
    group = typer.main.get_command(app)
    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found[name] = command
        for child, one in (children or {}).items():
            walk(one, f"{name} {child}")

    for name in ("cluster", "template", "pool", "addon", "status", "version"):
        walk(group.get_command(None, name), name)  # type: ignore[attr-defined]
    return found


LEAVES: Final = leaves()


def test_each_command_that_prints_a_resource_has_formats() -> None:
    without = {
        name
        for name, command in LEAVES.items()
        if not any("Print in this format" in (getattr(one, "help", None) or "") for one in command.params)
    }
    assert without == NO_RESOURCE


@pytest.mark.parametrize("output", [None, *OutputFormat])
@pytest.mark.parametrize("command", sorted(LEAVES.keys() - NO_RESOURCE))
def test_no_control_character_reaches_the_terminal(command: str, output: OutputFormat | None) -> None:
    arguments = [*command.split(), *ARGUMENTS.get(command, ("demo",))]
    done = CliRunner().invoke(app, [*arguments, *(("--output", output) if output else ())])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code == 0) == (command != "cluster heartbeat"), done.output
    assert not CONTROL.search(done.stdout + done.stderr)
    assert done.stdout or done.stderr


def test_warnings_of_the_client_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    CliRunner().invoke(app, ["status"])
    logging.getLogger("dayfly.client").warning("%s; trying again", HOSTILE)
    printed = capsys.readouterr().err
    assert "\\x1b]0;owned" in printed
    assert not CONTROL.search(printed)


def test_what_is_drawn_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console(stderr=True, width=200).print(HOSTILE)
    printed = capsys.readouterr().err
    assert not CONTROL.search(printed)
    assert "[bold]x" in printed


@pytest.mark.parametrize("file", sorted(CLI.rglob("*.py")), ids=lambda path: str(path.relative_to(CLI)))
def test_there_is_no_other_way_to_the_terminal(file: Path) -> None:
    """`bake_in_container` speaks to a program; the two modules of the ways themselves are exempt."""
    if file.name in {"bake_in_container.py", "terminal.py"}:
        return
    text = file.read_text()
    assert not re.search(r"\b(typer|click)\.s?echo\(|(?<![\w.])print\(|sys\.(stdout|stderr)\.write", text)
    assert "from rich.console import Console" not in text
    assert file.name == "live.py" or "rich.console.Console" not in text
