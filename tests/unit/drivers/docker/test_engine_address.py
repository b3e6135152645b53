"""The engine's address as the docker command finds it, or an error of one sentence."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dayfly.drivers.docker import client
from dayfly.drivers.docker.client import DockerClient
from dayfly.drivers.docker.engine_address import DEFAULT, EngineAddress, engine_address
from dayfly.errors import EngineUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def found(folder: Path, docker_host: str | None = None, **variables: str) -> EngineAddress:
    return engine_address(docker_host, {"DOCKER_CONFIG": str(folder), **variables})


def add_context(folder: Path, name: str, endpoint: dict[str, object], *, tls: bool = False) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    certificates = folder / "contexts" / "tls" / digest / "docker"
    if tls:
        certificates.mkdir(parents=True)
    return certificates


@contextmanager
def unusable(why: str) -> Iterator[None]:
    """The block raises EngineUnavailable. Callers of the API see neither address nor path; the operator sees `why`."""
    with pytest.raises(EngineUnavailable) as caught:
        yield
    assert caught.value.message == "the server's settings name no usable engine"
    assert re.search(why, caught.value.operator_detail)


def test_the_default_is_that_of_docker(folder: Path) -> None:
    assert found(folder) == EngineAddress(DEFAULT, None)
    assert found(folder, DOCKER_HOST="", DOCKER_CONTEXT="", DOCKER_TLS_VERIFY="") == EngineAddress(DEFAULT, None)


def test_what_is_named_first_counts(folder: Path) -> None:
    add_context(folder, "lab", {"Host": "tcp://lab:1"})
    add_context(folder, "other", {"Host": "unix:///other.sock"})
    (folder / "config.json").write_text('{"currentContext": "lab"}')
    assert found(folder) == EngineAddress("tcp://lab:1", "docker context lab")
    assert found(folder, DOCKER_CONTEXT="other").url == "unix:///other.sock"
    assert found(folder, DOCKER_CONTEXT="default").url == DEFAULT
    assert found(folder, DOCKER_CONTEXT="other", DOCKER_HOST="tcp://a:2").url == "tcp://a:2"
    own = found(folder, "unix:///own.sock", DOCKER_CONTEXT="other", DOCKER_HOST="tcp://a:2")
    assert own == EngineAddress("unix:///own.sock", "DAYFLY_DOCKER_HOST")


def test_tls_is_as_docker_sets_it_up(folder: Path) -> None:
    verified = found(folder, DOCKER_HOST="tcp://a:2", DOCKER_TLS_VERIFY="1")
    assert (verified.certificates, verified.verified) == (folder, True)
    assert found(folder, DOCKER_HOST="tcp://a:2", DOCKER_TLS_VERIFY="yes", DOCKER_CERT_PATH="/c").certificates == Path(
        "/c"
    )
    certificates = add_context(folder, "lab", {"Host": "tcp://lab:1", "SkipTLSVerify": False}, tls=True)
    assert found(folder, DOCKER_CONTEXT="lab").certificates == certificates
    add_context(folder, "careless", {"Host": "tcp://lab:1", "SkipTLSVerify": True})
    tls = found(folder, DOCKER_CONTEXT="careless").tls()
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_NONE
    add_context(folder, "careful", {"Host": "tcp://lab:1"})
    assert found(folder, DOCKER_CONTEXT="careful").tls() is None


def test_missing_certificates_are_one_sentence(folder: Path) -> None:
    (folder / "ca.pem").write_text("no certificate")
    for there in (folder, folder / "none"):
        address = found(folder, DOCKER_HOST="tcp://a:2", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(there))
        with unusable(r"^the engine at tcp://a:2 needs TLS, and [^\n]* lacks a usable"):
            address.tls()


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"DOCKER_HOST": "/var/run/docker.sock"}, r"^DOCKER_HOST is '/var/run/docker.sock': it must begin with"),
        ({"DOCKER_HOST": "npipe://x"}, r"^DOCKER_HOST is 'npipe://x': it must begin with"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:99999"}, r"^DOCKER_HOST is 'tcp://127.0.0.1:99999': write unix:///"),
        ({"DOCKER_HOST": "tcp://h:x"}, r"^DOCKER_HOST is 'tcp://h:x': write unix:///"),
        ({"DOCKER_HOST": "tcp://a..b:1"}, r"^DOCKER_HOST is 'tcp://a\.\.b:1': write unix:///"),
        ({"DOCKER_HOST": "tcp://h/x y"}, r"^DOCKER_HOST is 'tcp://h/x y': write unix:///"),
        ({"DOCKER_HOST": "unix://"}, r"^DOCKER_HOST is 'unix://': write unix:///"),
        ({"DOCKER_CONTEXT": "far"}, r"^docker context far is 'tcp://h:99999': write unix:///"),
        ({"DOCKER_CONTEXT": "none"}, r"^there is no docker context none, which DOCKER_CONTEXT names$"),
        ({"DOCKER_CONTEXT": "../x"}, r"^there is no docker context \.\./x, which DOCKER_CONTEXT names$"),
        ({"DOCKER_CONTEXT": "empty"}, r"^docker context empty names no engine$"),
    ],
)
def test_what_names_no_engine_is_one_sentence(folder: Path, variables: dict[str, str], why: str) -> None:
    add_context(folder, "empty", {})
    add_context(folder, "far", {"Host": "tcp://h:99999"})
    with unusable(why):
        found(folder, **variables)


@pytest.mark.parametrize("endpoints", ["[]", '{"docker": []}', '{"docker": {"Host": 1}}'])
def test_a_context_of_another_shape_is_one_sentence(folder: Path, endpoints: str) -> None:
    add_context(folder, "odd", {})
    (meta,) = folder.glob("contexts/meta/*/meta.json")
    meta.write_text(f'{{"Name": "odd", "Endpoints": {endpoints}}}')
    with unusable(r"^docker context odd names no engine$"):
        found(folder, DOCKER_CONTEXT="odd")


def test_a_config_that_is_no_json_is_one_sentence(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with unusable(r"config\.json cannot be read: "):
        found(folder)


async def test_the_client_says_so_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "none")
    with unusable("there is no docker context none"):
        DockerClient(None).get()


async def test_a_url_that_no_client_takes_is_for_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(client, "Docker", refuse)
    with unusable(r"^no engine at ssh://host \(DAYFLY_DOCKER_HOST\): no$"):
        DockerClient("ssh://host").get()
