"""Content hashes depend on files' content only, not on their owner or reader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dayfly.images.fingerprint import fingerprint


def test_who_may_execute_a_file_does_not_count_but_that_somebody_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")

    def with_mode(mode: int) -> str:
        script.chmod(mode)
        return fingerprint(tmp_path, files=["script"])

    mine = with_mode(0o700)
    assert with_mode(0o755) == mine
    assert with_mode(0o644) != mine
    # As for a user who cannot execute it.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert with_mode(0o700) == mine
