"""`dayfly status`."""

from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import Result

from dayfly.cli.status import _text
from dayfly.client import Client, Status

Dayfly = Callable[..., Result]


def test_it_shows_who_uses_what(dayfly: Dayfly) -> None:
    assert dayfly("cluster", "create", "slow-status", "--image", "bare", "--owner", "me").exit_code == 0
    shown = dayfly("status")
    assert shown.exit_code == 0, shown.output
    for words in ("server ", "engine      Docker 26.1", "FOR CLUSTERS", "memory MiB", "OWNER", "me "):
        assert words in shown.stdout
    found = json.loads(dayfly("status", "--output", "json").stdout)
    assert found["engine"]["error"] is None
    assert dayfly("status", "--output", "name").stdout.strip() == found["instance"]
    assert "me" in {one["owner"] for one in found["owners"]}


def test_what_is_not_known_is_called_unknown(url: str) -> None:
    with Client(url) as client:
        found = client.status()
    nothing = dict.fromkeys(type(found.engine).model_fields)
    engine = found.engine.model_copy(update={**nothing, "error": "the engine did not answer (engine_unavailable)"})
    host = found.host.model_copy(update={"capacity": None, "offered": None})
    text = _text(Status.model_validate(found.model_copy(update={"engine": engine, "host": host})))
    assert "engine      the engine did not answer" in text
    assert text.count("unknown") == 6
