"""`dayfly quota …`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import Result

from dayfly.client import Client

Dayfly = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_quota_is_left(url: str) -> Iterator[None]:
    yield
    with Client(url) as client:
        client.set_default_quota({})
        client.set_quota("ci", {})


def test_show_and_set(dayfly: Dayfly) -> None:
    done = dayfly("quota", "set", "clusters=5", "vcpus=none", "weight=2.5", "isolation=strict_only", "--team", "ci")
    assert done.exit_code == 0, done.output
    team, header, first, *_ = done.stdout.splitlines()
    assert (team, header.split(), first.split()) == ("team ci", ["QUOTA", "LIMIT", "USED"], ["clusters", "5", "0"])
    last_two = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert last_two == [["weight", "2.5", "-"], ["isolation", "strict_only", "-"]]
    assert dayfly("quota", "show", "--team", "ci").stdout == done.stdout
    done = dayfly("quota", "set", "clusters=0", "--default", "--json")
    assert json.loads(done.stdout)["limits"]["clusters"] == 0
    assert dayfly("quota", "show", "--default").stdout.splitlines()[1].split() == ["clusters", "0", "-"]
    own = json.loads(dayfly("quota", "show", "--json").stdout)
    assert (own["team"], own["limits"]["clusters"]) == ("default", 0)
    refused = dayfly("cluster", "create", "--image", "bare")
    assert refused.exit_code != 0
    assert "error [quota_exceeded]: clusters: team default may have 0, has 0, and the request needs 1" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "clusters=1"),
        ("set", "clusters=1", "--team", "ci", "--default"),
        ("set", "gpus=1", "--default"),
        ("set", "clusters", "--default"),
        ("set", "clusters=many", "--default"),
        ("set", "clusters=true", "--default"),
        ("set", "isolation=none", "--default"),
        ("set", "isolation=1", "--default"),
        ("set", "clusters=1", "clusters=2", "--default"),
        ("show", "--team", "ci", "--default"),
    ],
)
def test_wrong_arguments(dayfly: Dayfly, arguments: tuple[str, ...]) -> None:
    assert dayfly("quota", *arguments).exit_code == 2


def test_what_the_server_refuses(dayfly: Dayfly) -> None:
    done = dayfly("quota", "set", "clusters=-1", "--default")
    assert done.exit_code != 0
    assert "error [invalid_request]: " in done.stderr
