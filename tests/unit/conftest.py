"""Every unit test logs as the tests before it: some run commands that configure the logging of their process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def _same_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before, configure = structlog.get_config(), structlog.configure

    def configure_uncached(**options: Any) -> None:
        # A logger that is cached keeps the configuration of the test that used the logger first.
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    yield
    configure(**before)
