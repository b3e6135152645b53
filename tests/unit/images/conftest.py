"""The objects of the add-on that a test module names by its constant ADDON. Other modules make their own fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.program_objects import addon_objects


@pytest.fixture(scope="module")
def objects(request: pytest.FixtureRequest) -> dict[tuple[str, str], Any]:
    """The objects by kind and name."""
    all_of_them = addon_objects(request.module.ADDON)
    found = {(one["kind"], one["metadata"]["name"]): one for one in all_of_them}
    assert len(found) == len(all_of_them)
    return found


@pytest.fixture(scope="module")
def pod(request: pytest.FixtureRequest, objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The template of the Deployment that has the add-on's name."""
    template = objects["Deployment", request.module.ADDON]["spec"]["template"]
    assert isinstance(template, dict)
    return template


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (one,) = pod["spec"]["containers"]
    assert isinstance(one, dict)
    return one
