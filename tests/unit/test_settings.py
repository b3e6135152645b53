"""The settings: variables that no longer count are refused."""

from __future__ import annotations

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.server_settings import server_settings
from dayfly.settings import RENAMED, Settings


@pytest.mark.parametrize("old", [*RENAMED, *map(str.lower, RENAMED)])
def test_a_variable_that_was_renamed_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    monkeypatch.setenv(old, "60")
    with pytest.raises(CommandError) as refused:
        server_settings()
    new = RENAMED[old.upper()]
    assert refused.value.code == "bad_settings"
    assert refused.value.detail == f"{old.upper()} was renamed in 0.3.0: set {new} instead, and unset {old.upper()}"


def test_each_new_name_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_ORPHAN_GRACE_SECONDS", "60")
    assert server_settings().orphan_grace_seconds == 60
    assert set(RENAMED.values()) <= {f"DAYFLY_{name.upper()}" for name in Settings.model_fields}


def test_an_invalid_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_LISTEN_PORT", "many")
    with pytest.raises(CommandError, match=r"^DAYFLY_LISTEN_PORT: Input should be a valid integer"):
        server_settings()
