"""Prints a command's result: as text, or in the format that --output names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from dayfly.cli.terminal import say
from dayfly.vocabulary import OutputFormat


def emit(value: Any, text: str, output: OutputFormat | None, as_json: bool = False, *, wide: str | None = None) -> None:
    """Print `value`: a response of the API, a mapping, or a sequence of these. `text` and `wide` are for people."""
    match OutputFormat.JSON if as_json else output:
        case OutputFormat.JSON:
            say(json.dumps(to_jsonable_python(value), indent=2))
        case OutputFormat.YAML:
            import yaml  # noqa: PLC0415 - few commands need it

            say(yaml.safe_dump(to_jsonable_python(value), sort_keys=False, allow_unicode=True), nl=False)
        case OutputFormat.NAME:
            for one in value if isinstance(value, Sequence) else (value,):
                say(_name(one))
        case OutputFormat.WIDE:
            say(text if wide is None else wide)
        case None:
            say(text)


def emit_each(value: Any, text: str, output: OutputFormat | None, as_json: bool = False) -> None:
    """Print one of many values that come one after the other: JSON as a line, YAML as an item of one list."""
    match OutputFormat.JSON if as_json else output:
        case OutputFormat.JSON:
            say(json.dumps(to_jsonable_python(value)))
        case OutputFormat.YAML:
            emit([value], text, OutputFormat.YAML)
        case other:
            emit(value, text, other)


def _name(value: Any) -> str:
    """The name; of a template the id, of a server the instance."""
    fields = value if isinstance(value, dict) else vars(value)
    named = (fields.get(name) for name in ("name", "id", "instance"))
    return str(next((one for one in named if one), None) or next(iter(fields.values())))
