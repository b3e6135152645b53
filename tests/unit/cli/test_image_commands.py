"""`dayfly image …` on an engine that refuses: one line on standard error, with the engine's text."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.images.recipe import recipe_names
from tests.support.package_repository import index, package_repository
from tests.support.recorded_engine import DOCKER_26, RecordedEngine, recorded_engine

REFUSAL = "dial tcp 10.9.8.7:22: connection refused"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, DOCKER_26) as engine:
        engine.fallback = (500, {"message": REFUSAL})
        yield engine


async def run(engine: RecordedEngine, folder: Path, *arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of `dayfly image ARGUMENTS` in its own process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dayfly.cli.main", "image", *arguments),
        env={**os.environ, "DAYFLY_DOCKER_HOST": engine.url, "DAYFLY_STATE_DIR": str(folder), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


async def test_a_refused_list(engine: RecordedEngine, tmp_path: Path) -> None:
    line = f"error [engine_refused]: listing images: the engine reported an error, HTTP 500 (details: {REFUSAL})\n"
    code, stdout, stderr = await run(engine, tmp_path, "list", "--output", "json")
    assert (stdout, stderr) == ("", line)
    assert code


async def test_a_recipe_that_does_not_exist(engine: RecordedEngine, tmp_path: Path) -> None:
    code, stdout, stderr = await run(engine, tmp_path, "bake", "nothing")
    known = ", ".join(recipe_names())
    assert (code, stdout) == (3, "")
    assert stderr == f"error [not_found]: there is no recipe 'nothing'; there are: {known}\n"


async def test_an_image_that_does_not_exist(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers["GET", "images/dayfly/nothing:latest/json"] = (404, {"message": "No such image"})
    code, stdout, stderr = await run(engine, tmp_path, "push", "nothing", "lab.example:5000/x:1")
    assert (code, stdout) == (3, "")
    assert stderr == (
        "error [image_missing]: there is no image dayfly/nothing:latest on this engine; "
        "`dayfly image list` shows what there is\n"
    )


async def test_an_image_that_the_registry_does_not_have(engine: RecordedEngine, tmp_path: Path) -> None:
    reference, told = "lab.example:5000/dayfly/bare:1", "manifest unknown"
    engine.answers["GET", f"images/{reference}/json"] = (404, {"message": "No such image"})
    engine.answers["POST", "images/create"] = (404, {"message": told})
    code, stdout, stderr = await run(engine, tmp_path, "pull", reference)
    assert (code, stdout) == (3, "")
    sentence = f"pulling {reference}: the registry lab.example:5000 has no such image"
    assert stderr == f"error [image_missing]: {sentence} (details: {told})\n"


async def test_a_refused_pull(engine: RecordedEngine, tmp_path: Path) -> None:
    reference = "lab.example:5000/dayfly/bare:1"
    engine.answers["GET", f"images/{reference}/json"] = (404, {"message": "No such image"})
    code, stdout, stderr = await run(engine, tmp_path, "pull", reference)
    assert stdout == ""
    assert stderr == (
        f"error [engine_refused]: pulling {reference}: the engine reported an error, HTTP 500 (details: {REFUSAL})\n"
    )
    assert code


async def test_the_versions_of_kubernetes_upstream_and_here(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers["GET", "images/json"] = (200, [])
    with package_repository() as repository:
        repository.files["/k8s/v1.36/deb/Packages"] = index("1.36.4-1.1", "1.36.99-1.1")
        address = {"DAYFLY_KUBERNETES_PACKAGES": repository.address}
        code, stdout, stderr = await run(engine, tmp_path, "versions", "--output", "json", **address)
        assert (code, stderr) == (0, "")
        (found,) = [one for one in json.loads(stdout) if one["minor"] == "1.36"]
        assert found["recipe"] == "k8s-1.36"
        assert (found["newest"], found["releases"], found["baked"]) == ("1.36.99", ["1.36.99", "1.36.4"], [])
        _, table, _ = await run(engine, tmp_path, "versions", **address)
        assert table.splitlines()[0].split() == ["KUBERNETES", "RECIPE", "PINNED", "NEWEST", "BAKED"]
        assert "1.36.99" in table


async def test_an_upstream_that_does_not_answer_is_one_line(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers["GET", "images/json"] = (200, [])
    with package_repository() as repository:
        address = repository.address
    code, stdout, stderr = await run(engine, tmp_path, "versions", DAYFLY_KUBERNETES_PACKAGES=address)
    assert stdout == ""
    assert code
    assert stderr.startswith("error [upstream_unavailable]: the packages of Kubernetes 1.")
    assert address in stderr
    assert stderr.count("\n") == 1
