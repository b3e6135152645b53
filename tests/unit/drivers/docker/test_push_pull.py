"""Pushes and pulls on engines' recorded answers: the login sent, registries without TLS, and errors."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.docker.push_pull import is_on_loopback
from dayfly.errors import EngineRefused, ImageMissing, RegistryRefused
from tests.support.recorded_engine import DOCKER_26, PODMAN_5, RecordedEngine, recorded_engine

SECRET = "secret-word"
LOCAL, FAR = "127.0.0.1:5000/x:1", "lab.example:5000/x:1"
PUSHED = '{"status":"The push refers to repository [x]"}\n{"status":"1: digest: sha256:25 size: 343"}\n'
PULL_OF_PODMAN = ("POST", "libpod/images/pull")


@pytest.fixture
def login(tmp_path: Path) -> Path:
    """Docker's configuration, which is not there yet."""
    return tmp_path / "config.json"


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, DOCKER_26) as engine:
        yield engine


@pytest.fixture
async def podman(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, PODMAN_5) as engine:
        yield engine


async def transfer(
    engine: RecordedEngine, verb: str, reference: str, logins: Path | None = None, insecure: tuple[str, ...] = ()
) -> list[str]:
    images = DockerImages(engine.url, logins=logins, insecure_registries=insecure)
    try:
        steps = images.push(reference) if verb == "push" else images.pull(reference)
        return [step.status async for step in steps]
    finally:
        await images.close()


def sent(engine: RecordedEngine) -> object:
    header = engine.asked[-1].headers.get("X-Registry-Auth")
    return None if header is None else json.loads(base64.urlsafe_b64decode(header))


def log_in(config: Path, registry: str) -> None:
    auth = base64.b64encode(f"user:{SECRET}".encode()).decode()
    config.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


async def test_a_push_without_a_login(docker: RecordedEngine, login: Path) -> None:
    docker.answers["POST", "images/127.0.0.1:5000/x/push"] = (200, PUSHED)

    assert (await transfer(docker, "push", LOCAL, login))[-1] == "1: digest: sha256:25 size: 343"

    assert sent(docker) == {}, "Docker 20.10 refuses a push without the header"
    assert docker.asked[-1].query == {"tag": "1"}


async def test_a_push_without_a_login_on_podman(podman: RecordedEngine) -> None:
    podman.answers["POST", "images/127.0.0.1:5000/x/push"] = (200, PUSHED)
    podman.answers["POST", "images/lab.example:5000/x/push"] = (200, PUSHED)

    await transfer(podman, "push", LOCAL)
    assert sent(podman) is None, "then it takes what `podman login` has kept"
    assert podman.asked[-1].query == {"tag": "1", "tlsVerify": "false"}

    await transfer(podman, "push", FAR)
    assert podman.asked[-1].query == {"tag": "1"}


async def test_a_pull_on_podman_is_its_own_call(podman: RecordedEngine) -> None:
    podman.answers[PULL_OF_PODMAN] = (200, '{"stream":"Trying to pull 127.0.0.1:5000/x:1...\\n"}\n{"id":"50"}\n')

    assert (await transfer(podman, "pull", LOCAL))[0] == "Trying to pull 127.0.0.1:5000/x:1..."

    assert podman.asked[-1].query == {"reference": LOCAL, "tlsVerify": "false"}


@pytest.mark.parametrize("verb", ["push", "pull"])
async def test_the_login_that_docker_keeps_is_sent(docker: RecordedEngine, login: Path, verb: str) -> None:
    docker.answers["POST", "images/lab.example:5000/x/push"] = (200, PUSHED)
    docker.answers["POST", "images/create"] = (200, PUSHED)
    log_in(login, "lab.example:5000")

    await transfer(docker, verb, FAR, login)

    assert sent(docker) == {"username": "user", "password": SECRET, "serveraddress": "lab.example:5000"}


@pytest.mark.parametrize("verb", ["push", "pull"])
async def test_the_login_that_docker_keeps_is_sent_to_podman(podman: RecordedEngine, login: Path, verb: str) -> None:
    podman.answers["POST", "images/lab.example:5000/x/push"] = (200, PUSHED)
    podman.answers[PULL_OF_PODMAN] = (200, PUSHED)
    log_in(login, "lab.example:5000")

    await transfer(podman, verb, FAR, login)

    assert sent(podman) == {"username": "user", "password": SECRET, "serveraddress": "lab.example:5000"}


async def test_a_registry_without_tls_on_docker(docker: RecordedEngine) -> None:
    told = 'Get "https://lab.example:5000/v2/": http: server gave HTTP response to HTTPS client'
    docker.answers["POST", "images/create"] = (500, {"message": told})

    with pytest.raises(RegistryRefused, match=r"insecure-registries.*lab\.example:5000.*daemon\.json"):
        await transfer(docker, "pull", FAR)


async def test_a_registry_without_tls_on_podman(podman: RecordedEngine) -> None:
    told = 'pinging registry: Get "https://x/v2/": http: server gave HTTP response to HTTPS client'
    podman.answers["POST", "images/lab.example:5000/x/push"] = (
        500,
        json.dumps({"errorDetail": {"message": told}, "error": told}) + "\n",
    )
    podman.answers[PULL_OF_PODMAN] = (200, json.dumps({"error": told}) + "\n")

    for verb in ("push", "pull"):
        with pytest.raises(RegistryRefused, match=r"insecure = true` in /etc/containers/registries\.conf") as refused:
            await transfer(podman, verb, FAR)
        assert told not in refused.value.message
        assert refused.value.operator_detail == told


@pytest.mark.parametrize(
    "told",
    [
        "no basic auth credentials",
        "push access denied, repository does not exist or may require authorization: authorization failed: "
        "no basic auth credentials",
        "trying to reuse blob sha256:94 at destination: checking whether a blob exists in x: authentication required",
        "unauthorized: access to the requested resource is not authorized",
    ],
)
async def test_a_wrong_login_is_named_and_not_shown(docker: RecordedEngine, login: Path, told: str) -> None:
    docker.answers["POST", "images/lab.example:5000/x/push"] = (200, json.dumps({"error": told}) + "\n")
    log_in(login, "lab.example:5000")

    with pytest.raises(RegistryRefused, match=r"docker login lab\.example:5000") as refused:
        await transfer(docker, "push", FAR, login)

    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    assert SECRET not in repr(refused.value)
    assert encoded not in repr(refused.value)


async def test_what_is_missing_and_what_is_refused(docker: RecordedEngine, podman_sock: RecordedEngine) -> None:
    docker.answers["POST", "images/create"] = (200, '{"error":"manifest for x:1 not found: manifest unknown"}\n')
    podman_sock.answers["POST", "images/127.0.0.1:5000/x/push"] = (
        500,
        {"message": "failed to find image 127.0.0.1:5000/x:1: 127.0.0.1:5000/x:1: image not known"},
    )
    podman_sock.answers[PULL_OF_PODMAN] = (500, {"message": "connection refused"})

    with pytest.raises(ImageMissing):
        await transfer(docker, "pull", FAR)
    with pytest.raises(ImageMissing):
        await transfer(podman_sock, "push", LOCAL)
    with pytest.raises(EngineRefused, match="x:1: the engine reported an error, HTTP 500") as refused:
        await transfer(podman_sock, "pull", LOCAL)
    assert refused.value.for_operator.endswith("(details: connection refused)")


@pytest.fixture
async def podman_sock(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    """A second engine beside `docker`."""
    (tmp_path / "second").mkdir()
    async with recorded_engine(tmp_path / "second", PODMAN_5) as engine:
        yield engine


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("127.0.0.1.example:5000", False),
        ("docker.io", False),
    ],
)
def test_what_is_loopback(registry: str, loopback: bool) -> None:
    assert is_on_loopback(registry) is loopback


async def test_names_of_images_are_dockers_short_ones(podman: RecordedEngine) -> None:
    tags = ["docker.io/dayfly/bare:1", "localhost/dayfly/bare:1", "docker.io/library/x:1", "lab.example:5000/x:1"]
    raw = {"Id": "sha256:1", "RepoTags": tags, "Labels": {"l": ""}, "Size": 1, "Created": 1}
    podman.answers["GET", "images/json"] = (200, [raw, {**raw, "Labels": {"l2": ""}}])
    images = DockerImages(podman.url)
    try:
        (image,) = await images.list(label="l")
    finally:
        await images.close()
    assert image.references == ("dayfly/bare:1", "x:1", "lab.example:5000/x:1")


@pytest.mark.parametrize("created", [None, "", "x", -62135636400, 10**30, [], "0000-01-01T00:00:00Z"], ids=str)
async def test_an_image_that_names_no_time_of_its_making_is_no_defect(docker: RecordedEngine, created: object) -> None:
    raw = {"Id": "sha256:1", "RepoTags": ["x:1"], "Labels": {"l": ""}, "Size": 1, "Created": created}
    docker.answers["GET", "images/json"] = (200, [raw])
    docker.answers["GET", "images/x:1/json"] = (200, raw | {"Config": {"Labels": {}}})
    images = DockerImages(docker.url)
    try:
        found = (*await images.list(label="l"), await images.inspect("x:1"))
    finally:
        await images.close()
    assert {image.created_at for image in found} == {datetime.fromtimestamp(0, UTC)}


async def test_podman_does_not_verify_tls_of_a_registry_that_the_settings_name(podman: RecordedEngine) -> None:
    podman.answers["POST", "images/lab.example:5000/x/push"] = (200, PUSHED)
    podman.answers[PULL_OF_PODMAN] = (200, '{"images":["1"],"id":"1"}\n')
    for verb in ("push", "pull"):
        await transfer(podman, verb, FAR, insecure=("lab.example:5000",))
        assert podman.asked[-1].query["tlsVerify"] == "false"
        await transfer(podman, verb, FAR, insecure=("lab.example",))
        assert "tlsVerify" not in podman.asked[-1].query, "another port is another registry"
