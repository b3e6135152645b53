"""A server on 127.0.0.1 for all tests of a module; each test uses its own names of clusters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api import Infrastructure, served


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("server"), Infrastructure()) as found:
        yield found
