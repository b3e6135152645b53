"""Where `dayfly image bake` bakes, and the line that it prints about that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from dayfly.cli import image
from dayfly.cli.main import app
from dayfly.errors import ImageBroken
from dayfly.images.container_bake import CAPABILITIES
from dayfly.images.host import Missing
from dayfly.settings import Settings
from dayfly.testing.fake_images import FakeImages

NO_ROOT = Missing("root", "run it with sudo")


class Bakes:
    """Notes where a bake would have run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.where: list[str] = []
        self.missing: tuple[Missing, ...] = ()
        self.baked = False
        monkeypatch.setattr(image, "open_tools", self._open)
        monkeypatch.setattr(image, "missing", lambda: self.missing)
        monkeypatch.setattr(image, "is_baked", self._is_baked)
        monkeypatch.setattr(image, "bake_image", self._on_host)
        monkeypatch.setattr(image, "bake_in_container", self._in_container)
        self.given: dict[str, object] = {}

    def run(self, *arguments: str, **environment: str) -> str:
        result = CliRunner().invoke(app, ["image", "bake", "bare", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        assert result.output.endswith("dayfly/bare:latest is sha256:1\n")
        return result.output

    @asynccontextmanager
    async def _open(self, settings: Settings) -> AsyncIterator[object]:
        yield SimpleNamespace(settings=settings, images=FakeImages(), verify=None, machine_host=None)

    async def _is_baked(self, *_: object) -> bool:
        return self.baked

    async def _on_host(self, *_: object, **__: object) -> str:
        self.where.append("host")
        return "sha256:1"

    async def _in_container(self, *_: object, **given: object) -> str:
        self.where.append("container")
        self.given = given
        return "sha256:1"


@pytest.fixture
def bakes(monkeypatch: pytest.MonkeyPatch) -> Bakes:
    return Bakes(monkeypatch)


def test_a_host_that_can_bake_does(bakes: Bakes) -> None:
    assert "container" not in bakes.run()
    assert bakes.where == ["host"]


def test_a_user_who_is_not_root_bakes_in_a_container_and_is_told_why(bakes: Bakes) -> None:
    bakes.missing = (NO_ROOT,)
    output = bakes.run(DAYFLY_BAKE_BASE="debian:13", DAYFLY_INSTANCE="lab", DAYFLY_PORT_RANGE="40000-40999")
    assert output.startswith("baking in a container: a bake on this host lacks root\n")
    assert bakes.where == ["container"]
    assert bakes.given["base"] == "debian:13"
    assert bakes.given["settings"] == {
        "DAYFLY_INSTANCE": "lab",
        "DAYFLY_ACCELERATOR": "auto",
        "DAYFLY_PUBLISH_ADDRESS": "127.0.0.1",
        "DAYFLY_PORT_RANGE": "40000-40999",
    }


def test_a_bake_in_a_container_gets_the_addresses_that_are_set(bakes: Bakes) -> None:
    bakes.missing = (NO_ROOT,)
    bakes.run(DAYFLY_BAKE_REGISTRIES="quay.io=https://mirror.example", DAYFLY_KUBERNETES_PACKAGES_KEY="/keys/k")
    settings = bakes.given["settings"]
    assert isinstance(settings, dict)
    assert settings["DAYFLY_BAKE_REGISTRIES"] == '["quay.io=https://mirror.example"]'
    assert settings["DAYFLY_KUBERNETES_PACKAGES_KEY"] == "/keys/k"
    assert bakes.given["folders"] == (Path("/keys/k"),)


def test_an_image_that_is_there_takes_no_container(bakes: Bakes) -> None:
    bakes.missing, bakes.baked = (NO_ROOT,), True
    assert "container" not in bakes.run()
    assert bakes.where == ["host"]


def test_either_can_be_asked_for(bakes: Bakes) -> None:
    assert "baking in a container: --in-container was given" in bakes.run("--in-container")
    bakes.missing = (NO_ROOT,)
    bakes.run("--on-host")
    assert bakes.where == ["container", "host"]


def test_an_interruption_says_what_stays(bakes: Bakes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object, **__: object) -> str:
        raise asyncio.CancelledError

    monkeypatch.setattr(image, "bake_image", interrupted)
    monkeypatch.setattr(image, "list_images", interrupted)
    baked = CliRunner().invoke(app, ["image", "bake", "bare"])
    assert baked.exit_code == 130
    assert baked.stderr == (
        "interrupted: unfinished phases were removed; the next bake continues after the finished ones\n"
    )
    assert CliRunner().invoke(app, ["image", "list"]).stderr == "interrupted\n"


def test_the_evidence_of_a_guest_does_not_command_the_terminal(bakes: Bakes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object, **__: object) -> str:
        raise ImageBroken("it does not boot", evidence={"node01/console": "login:\n\x1b[2J"})

    monkeypatch.setattr(image, "bake_image", failing)
    failed = CliRunner().invoke(app, ["image", "bake", "bare"])
    assert failed.stderr == ("--- node01/console\nlogin:\n\\x1b[2J\nerror [image_broken]: it does not boot\n")


def test_the_help_says_what_the_container_may_do_and_why() -> None:
    text = CliRunner().invoke(app, ["image", "bake", "--help"], env={"COLUMNS": "200"}).output
    assert all(f"{name}: " in text for name in CAPABILITIES)
    assert "not privileged" in text
    assert "the engine's socket for import and verification" in text
