"""Every command has a help text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dayfly.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if hasattr(command, "list_commands"):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


ALL = list(commands(typer.main.get_command(app)))


def test_there_are_as_many_commands_as_the_readme_promises() -> None:
    promised = {
        ("serve",),
        ("doctor",),
        ("version",),
        ("image", "bake"),
        ("image", "list"),
        ("image", "push"),
        ("image", "pull"),
    }
    promised |= {
        ("cluster", name) for name in ("create", "list", "show", "delete", "kubeconfig", "ssh", "console", "events")
    }
    assert promised <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    assert "needs the server" not in result.output


def test_help_is_broken_at_the_terminals_width_only() -> None:
    for name in ("worker", "gc", "doctor", "image bake", "cluster diagnostics"):
        lines = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "600"}).output.splitlines()
        sentences = [line.strip() for line in lines if line.startswith(" ") and line.strip()]
        assert all(line[0].isupper() or line.startswith("--") for line in sentences), sentences
