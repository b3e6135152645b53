"""docker-compose.yml and the systemd unit match Dayfly's settings. Not here: running them (tests/integration)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dayfly.bake_settings import BakeSettings
from dayfly.settings import RENAMED, Settings

REPO = Path(__file__).parents[2]
COMPOSE = REPO / "docker-compose.yml"
UNIT = REPO / "deploy" / "systemd" / "dayfly.service"
SETTINGS = {f"DAYFLY_{name.upper()}" for name in Settings.model_fields}


@pytest.fixture
def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    services: dict[str, Any] = read["services"]
    return services


@pytest.mark.parametrize("service", ["api", "worker"])
def test_the_stack_hands_every_setting_on(services: dict[str, Any], service: str) -> None:
    # The stack does not bake, push or pull images: it needs no cache, mirror or registry.
    bakes = (name.upper() for name in BakeSettings.model_fields)
    others = ("BAKES", "BAKE_ATTEMPTS", "BAKE_CONCURRENCY", "REBUILDS", "REBUILD_CHECK_SECONDS")
    tools = ("CACHE_DIR", "DOCKER_CONFIG", "INSECURE_REGISTRIES")
    # A value in a container's environment is shown by `docker inspect`: the stack takes keys from a file.
    keys = ("SECRETS_KEY",)
    images = {f"DAYFLY_{name}" for name in (*bakes, *others, *tools, *keys)}
    # Renamed variables are passed on as well, so that the service refuses them.
    assert set(services[service]["environment"]) == (SETTINGS - images) | RENAMED.keys()


def test_the_unit_names_only_settings_that_exist() -> None:
    assert set(re.findall(r"DAYFLY_[A-Z_]+", UNIT.read_text())) <= SETTINGS


def test_clusters_expire_by_default(services: dict[str, Any]) -> None:
    assert services["api"]["environment"]["DAYFLY_DEFAULT_TTL_SECONDS"] == "${DAYFLY_DEFAULT_TTL_SECONDS-86400}"
    assert "\nEnvironment=DAYFLY_DEFAULT_TTL_SECONDS=86400\n" in UNIT.read_text()


def test_no_service_of_the_stack_can_gain_anything(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert not {"privileged", "cap_add", "devices", "ports", "pid", "ipc", "userns_mode"} & set(service)


def test_no_secret_is_in_the_stack(services: dict[str, Any]) -> None:
    for service in ("api", "worker"):
        # The path of a file in the container, without a value here.
        assert services[service]["environment"]["DAYFLY_SECRETS_KEY_FILE"] is None
    shown = yaml.safe_dump(services).replace("DAYFLY_SECRETS_KEY_FILE", "")
    assert not re.search(r"passw|secret|token", shown, re.IGNORECASE)
    assert "trust" not in (REPO / "deploy" / "docker" / "postgres" / "pg_hba.conf").read_text()


@pytest.mark.parametrize("script", ["build.sh", "trim", "postgres/entrypoint"])
def test_what_the_images_are_made_by_can_be_run(script: str) -> None:
    assert (REPO / "deploy" / "docker" / script).stat().st_mode & 0o111
