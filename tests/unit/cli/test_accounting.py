"""`dayfly usage` and `dayfly audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import typer
from typer.testing import Result

from dayfly.cli.accounting import parse_moment
from dayfly.client import Client
from tests.support.guest import until

Dayfly = Callable[..., Result]


def teams_of(client: Client) -> set[str | None]:
    return {row.team for row in client.usage(["team"]).usage}


def test_usage_by_team_and_label(dayfly: Dayfly, url: str) -> None:
    own = ("--owner", "red", "--label", "ci=unit", "--wait")
    assert dayfly("cluster", "create", "used", "--image", "bare", *own).exit_code == 0
    with Client(url) as client:
        until("it has run for a second", lambda: "red" in teams_of(client) or None, seconds=60)
    shown = dayfly("usage", "--by", "team", "--by", "label:ci", "--since", "30d")
    assert shown.exit_code == 0, shown.output
    assert "TEAM   ci    VCPU SECONDS  MEMORY GIB SECONDS  DISK GIB SECONDS" in shown.stdout
    assert "\nred    unit  " in shown.stdout
    assert "\ntotal        " in shown.stdout
    found = json.loads(dayfly("usage", "--by", "team", "--json").stdout)
    assert "red" in {one["team"] for one in found["usage"]}
    table = dayfly("usage", "--by", "day", "--by", "team", "--csv").stdout.splitlines()
    assert table[0] == "day,team,vcpu_seconds,memory_gib_seconds,disk_gib_seconds"
    assert any(",red," in line for line in table)
    assert dayfly("usage").exit_code == 0


def test_the_audit_shows_who_did_what(dayfly: Dayfly) -> None:
    assert dayfly("cluster", "create", "seen", "--image", "bare").exit_code == 0
    assert dayfly("cluster", "delete", "no-such-cluster").exit_code != 0
    shown = dayfly("audit", "--target", "seen", "--since", "1h")
    assert shown.exit_code == 0, shown.output
    [header, line] = shown.stdout.splitlines()
    assert header.split()[:3] == ["AT", "(UTC)", "PRINCIPAL"]
    assert "createCluster  cluster seen  202" in line
    assert "404 not_found" in dayfly("audit", "--operation", "deleteCluster").stdout
    lines = dayfly("audit", "--export", "--operation", "createCluster").stdout.splitlines()
    assert {json.loads(line)["operation"] for line in lines} == {"createCluster"}
    found = json.loads(dayfly("audit", "--limit", "1", "--json").stdout)
    assert len(found) == 1


def test_the_client_reads_all_pages(dayfly: Dayfly, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dayfly.client.sync_accounting._PAGE", 1)
    for number in range(3):
        assert dayfly("cluster", "create", f"page-{number}", "--image", "bare", "--owner", f"t{number}").exit_code == 0
    with Client(url) as client:
        entries = client.audit(limit=3, operation="createCluster")
        assert [one.target and one.target.name for one in entries] == ["page-2", "page-1", "page-0"]
        for number in range(3):
            client.wait_ready(f"page-{number}")
        until("each has run for a second", lambda: {"t0", "t1", "t2"} <= teams_of(client) or None, seconds=60)
        found = client.usage(["team"])
        assert sum(row.disk_gib_seconds for row in found.usage) == found.total.disk_gib_seconds


@pytest.mark.parametrize("option", [("--by", "owner"), ("--since", "yesterday"), ("--until", "9" * 400 + "d")])
def test_bad_options_are_explained(dayfly: Dayfly, option: tuple[str, str]) -> None:
    refused = dayfly("usage", *option)
    assert refused.exit_code == 2
    assert option[1][:9] in refused.output


def test_moments() -> None:
    assert parse_moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_moment("2026-01-31T12:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert abs(parse_moment("2d") - (datetime.now(UTC) - timedelta(days=2))) < timedelta(minutes=1)
    with pytest.raises(typer.BadParameter):
        parse_moment("31.1.2026")
