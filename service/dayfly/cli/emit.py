"""Prints a command's result: as text, or in the format that --output names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from dayfly.cli.formatting import printable
from dayfly.vocabulary import OutputFormat


def emit(value: Any, text: str, output: OutputFormat | None, as_json: bool = False, *, wide: str | None = None) -> None:
    """Print `value`: a response of the API, a mapping, or a sequence of these. `text` and `wide` are for people."""
    match OutputFormat.JSON if as_json else output:
        case OutputFormat.JSON:
            typer.echo(json.dumps(_jsonable(value), indent=2))
        case OutputFormat.YAML:
            import yaml  # noqa: PLC0415 - few commands need it

            typer.echo(yaml.safe_dump(_jsonable(value), sort_keys=False, allow_unicode=True), nl=False)
        case OutputFormat.NAME:
            for one in value if _is_list(value) else (value,):
                typer.echo(_name(one))
        case OutputFormat.WIDE:
            typer.echo(printable(text if wide is None else wide))
        case None:
            typer.echo(printable(text))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _jsonable(value: Any) -> Any:
    if _is_list(value):
        return [_jsonable(one) for one in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _name(value: Any) -> str:
    """The name, of a template the id."""
    fields = value if isinstance(value, dict) else vars(value)
    return str(fields.get("name") or fields.get("id") or next(iter(fields.values())))
