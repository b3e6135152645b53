"""Registry caches on a real engine: a cluster's namespace pulls through one from a registry of the test's own.

Not here: containerd, whose rules are tested by their text (tests/unit/steps/test_personalize.py).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import httpx
import pytest

from dayfly.clock import SystemClock
from dayfly.controllers.registry_caches import CONTENT_DIR, RegistryCaches
from dayfly.doctor.registry_caches import check_registry_caches
from dayfly.domain.cluster.naming import CACHES_OWNER, caches_container
from dayfly.domain.cluster.network import GATEWAY
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.docker.registry_credentials import credentials_for
from dayfly.settings import Settings
from tests.support import guest
from tests.support.real_machines import real_spec
from tests.support.service import docker

pytestmark = pytest.mark.docker

BARE = "dayfly/bare:latest"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MIB = 2**20
LIMIT_MIB = 8
SECONDS = 60


@dataclass
class Upstream:
    """A registry in a container; `url` from other containers."""

    name: str
    url: str
    host: httpx.Client

    def push(self, tag: str, layers: list[bytes]) -> list[str]:
        """The digests of the layers."""
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        of_config, *digests = [self._blob(content) for content in (config, *layers)]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": of_config,
            },
            "layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(one), "digest": digest}
                for one, digest in zip(layers, digests, strict=True)
            ],
        }
        answer = self.host.put(
            f"/v2/library/app/manifests/{tag}", content=json.dumps(manifest), headers={"Content-Type": MANIFEST}
        )
        assert answer.status_code == 201, answer.text
        return digests

    def requests(self, digest: str) -> int:
        """How often the blob was fetched."""
        return len(re.findall(rf'"GET /v2/library/app/blobs/{digest}', docker("logs", self.name)))

    def _blob(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self.host.post("/v2/library/app/blobs/uploads/")
        ended = self.host.put(
            f"{begun.headers['Location']}&digest={digest}",
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        assert ended.status_code == 201, ended.text
        return digest


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    name = f"dayfly-test-{secrets.token_hex(4)}"
    options = ("--publish=127.0.0.1::5000", "--cap-drop=ALL", "--env=REGISTRY_LOG_ACCESSLOG_DISABLED=false")
    docker("run", "--detach", f"--name={name}", *options, BARE, "/usr/lib/dayfly/registry")
    try:
        address = docker("inspect", "--format={{.NetworkSettings.IPAddress}}", name).strip()
        port = docker("port", name, "5000/tcp").split()[0]
        with httpx.Client(base_url=f"http://{port}", timeout=SECONDS) as host:
            until("the upstream answers", lambda: _answers(host))
            yield Upstream(name, f"http://{address}:5000", host)
    finally:
        docker("rm", "--force", "--volumes", name)


class Lab:
    """The caches of an installation, and one cluster's network and registry, without machines."""

    def __init__(self, engine: DockerEngine, images: DockerImages, settings: Settings, topology: Topology) -> None:
        self.engine, self.settings, self.topology = engine, settings, topology
        self.caches = RegistryCaches(settings, engine, images, credentials_for, SystemClock())

    def get(self, path: str) -> tuple[str, str]:
        """Status line and body of a request from the cluster's bridge, as a node makes it.

        Like any HTTP client, socat does not end its direction: the forwarder would not wait for a late answer.
        """
        (cache,) = self.topology.caches
        request = f"GET {path} HTTP/1.0\\r\\nHost: registry\\r\\nAccept: {MANIFEST}\\r\\n\\r\\n"
        call = f"printf '{request}' | socat -t {SECONDS} - TCP:{GATEWAY}:{cache.port},shut-none"
        answer = docker("exec", self.topology.net.name, "sh", "-c", call)
        head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
        return head.partition("\n")[0], body

    def pull(self, tag: str) -> list[str]:
        """The layers of an image."""
        status, manifest = self.get(f"/docker.io/v2/library/app/manifests/{tag}?ns=docker.io")
        assert " 200 " in status, manifest
        layers = []
        for layer in json.loads(manifest)["layers"]:
            status, body = self.get(f"/docker.io/v2/library/app/blobs/{layer['digest']}?ns=docker.io")
            assert " 200 " in status, body
            layers.append(body)
        return layers

    def serves(self) -> bool:
        try:
            return " 200 " in self.get("/docker.io/v2/")[0]
        except RuntimeError:  # of `docker`: nothing listens yet
            return False

    def content_kib(self) -> int:
        return int(docker("exec", caches_container(self.settings.instance), "du", "-sk", CONTENT_DIR).split()[0])


@pytest.fixture
async def lab(upstream: Upstream) -> AsyncIterator[Lab]:
    word = secrets.token_hex(4)
    settings = Settings(instance=f"test-{word}", registry_caches=(f"docker.io={upstream.url}",)).model_copy(
        # Less than an operator may set.
        update={"registry_cache_gib": Fraction(LIMIT_MIB, 1024)}
    )
    engine = DockerEngine(instance=settings.instance)
    images = DockerImages(instance=settings.instance)
    try:
        topology = compute_topology(
            f"test-{word}",
            await real_spec(images, BARE),
            instance=settings.instance,
            accelerator="tcg",
            publication=Publication(),
            caches=settings.caches,
        )
        made = Lab(engine, images, settings, topology)
        # The cluster first: its registry waits for no cache.
        await engine.ensure(topology.net)
        await engine.ensure(topology.registry)
        await made.caches.look()
        until("the cache serves", made.serves)
        yield made
    finally:
        await engine.remove(f"test-{word}")
        await engine.remove(CACHES_OWNER)
        await images.close()
        await engine.close()


async def test_a_second_pull_asks_the_upstream_for_no_blob(lab: Lab, upstream: Upstream) -> None:
    layers = [letter * 300_000 for letter in "ab"]
    digests = upstream.push("1", [layer.encode() for layer in layers])
    assert lab.pull("1") == layers
    # docker-registry 2.8 fetches a blob for its caller and for its storage.
    until("both are stored", lambda: lab.content_kib() > 500)
    before = [upstream.requests(digest) for digest in digests]
    assert set(before) <= {1, 2}
    assert lab.pull("1") == layers
    assert [upstream.requests(digest) for digest in digests] == before
    # What another cache's rule asks for is refused: the node asks that registry itself.
    assert " 404 " in lab.get("/quay.io/v2/library/app/manifests/1")[0]
    check = await check_registry_caches(lab.settings, lab.engine)
    assert check.status == "ok", check
    # Without its upstream the cache still has the image.
    docker("stop", "--time=0", upstream.name)
    assert lab.pull("1") == layers


async def test_the_content_stays_below_its_bound(lab: Lab, upstream: Upstream) -> None:
    for number in range(2 * LIMIT_MIB // 2):
        layer = chr(ord("a") + number) * (2 * MIB)
        upstream.push(str(number), [layer.encode()])
        assert lab.pull(str(number)) == [layer]
    until("the bound is kept", lambda: lab.content_kib() <= LIMIT_MIB * 1024)
    # Content that was removed is fetched again.
    assert lab.pull("0") == ["a" * (2 * MIB)]


async def test_a_container_that_was_removed_comes_back_at_the_same_place_with_its_content(
    lab: Lab, upstream: Upstream
) -> None:
    layer = "x" * MIB
    (digest,) = upstream.push("1", [layer.encode()])
    assert lab.pull("1") == [layer]
    until("it is stored", lambda: lab.content_kib() > 1000)
    before = upstream.requests(digest)
    docker("rm", "--force", caches_container(lab.settings.instance))
    assert not lab.serves()
    await lab.caches.look()
    until("the cache serves", lab.serves)
    assert lab.pull("1") == [layer]
    assert upstream.requests(digest) == before


def until(what: str, holds: Callable[[], bool]) -> None:
    guest.until(what, lambda: holds() or None, seconds=SECONDS)


def _answers(host: httpx.Client) -> bool:
    try:
        return host.get("/v2/").status_code == 200
    except httpx.TransportError:
        return False
