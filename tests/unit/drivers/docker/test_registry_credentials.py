"""Reading docker's logins; no secret gets into a message."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dayfly.drivers.docker.registry_credentials import credentials_for, registry_of
from dayfly.errors import RegistryRefused
from dayfly.settings import Settings

AUTH = base64.b64encode(b"user:pass:word").decode()
FOUND = {"username": "user", "password": "pass:word", "serveraddress": "lab:5000"}


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("lab:5000/a/b:tag", "lab:5000"),
        ("lab.example/a", "lab.example"),
        ("localhost/a", "localhost"),
        ("dayfly/bare:latest", "docker.io"),
        ("bare", "docker.io"),
    ],
)
def test_the_registry_of_a_reference(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry


@pytest.mark.parametrize("kept_as", ["lab:5000", "https://lab:5000", "http://lab:5000/v1/", "https://lab:5000/v2/"])
async def test_a_password(tmp_path: Path, kept_as: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {kept_as: {"auth": AUTH}, "lab": {"auth": "x"}}}))
    assert await credentials_for("lab:5000", config) == FOUND
    assert await credentials_for("other:5000", config) is None


async def test_dockers_own_registry_has_a_name_of_its_own(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}))
    found = await credentials_for("docker.io", config)
    assert found is not None
    assert found["username"] == "user"


async def test_a_token(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"lab:5000": {"auth": AUTH, "identitytoken": "t"}}}))
    assert await credentials_for("lab:5000", config) == {"identitytoken": "t", "serveraddress": "lab:5000"}


async def test_where_nothing_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert await credentials_for("lab:5000", config) is None
    for empty in ("{}", '{"auths": {}}', '{"auths": {"lab:5000": {}}}'):
        config.write_text(empty)
        assert await credentials_for("lab:5000", config) is None


@pytest.mark.parametrize("broken", ["{not json: hunter2", '{"auths": {"lab:5000": {"auth": "hunter2!"}}}'])
async def test_what_cannot_be_read_is_not_quoted(tmp_path: Path, broken: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(broken)
    with pytest.raises(RegistryRefused, match="cannot be read") as refused:
        await credentials_for("lab:5000", config)
    assert "hunter2" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`docker-credential-safe`, to be written; docker's configuration names it for `lab:5000`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "config.json").write_text(
        json.dumps({"credHelpers": {"lab:5000": "safe"}, "auths": {"b": {"auth": AUTH}}})
    )
    return tmp_path / "bin" / "docker-credential-safe"


def write(helper: Path, script: str) -> None:
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


async def test_a_helper_is_asked(helper: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    write(helper, """read host; echo '{"ServerURL":"'$host'","Username":"user","Secret":"pass:word"}'""")
    assert await credentials_for("lab:5000", config) == FOUND
    write(helper, """echo '{"Username":"<token>","Secret":"t"}'""")
    assert await credentials_for("lab:5000", config) == {"identitytoken": "t", "serveraddress": "lab:5000"}
    config.write_text(json.dumps({"credsStore": "safe"}))
    assert await credentials_for("other:5000", config) == {"identitytoken": "t", "serveraddress": "other:5000"}


async def test_a_helper_that_has_nothing(helper: Path, tmp_path: Path) -> None:
    write(helper, "echo credentials not found in native keychain; exit 1")
    assert await credentials_for("lab:5000", tmp_path / "config.json") is None


@pytest.mark.parametrize(
    ("script", "words"), [("echo hunter2; exit 3", "exit code 3"), ("echo hunter2", "cannot be read"), (None, "be run")]
)
async def test_a_helper_that_fails(helper: Path, tmp_path: Path, script: str | None, words: str) -> None:
    if script is not None:
        write(helper, script)
    with pytest.raises(RegistryRefused, match=words) as refused:
        await credentials_for("lab:5000", tmp_path / "config.json")
    assert "docker-credential-safe" in refused.value.message
    assert "hunter2" not in refused.value.message


def test_the_logins_are_where_docker_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert Settings().docker_config == tmp_path / ".docker" / "config.json"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "elsewhere"))
    assert Settings().docker_config == tmp_path / "elsewhere" / "config.json"
