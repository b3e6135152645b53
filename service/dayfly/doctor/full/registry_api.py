"""A registry's HTTP API (v2), and a tiny image to push and pull without an engine.

Not here: node images, which the engine itself pushes (images/node_images.py).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final, Self

import httpx

from dayfly.doctor.full.report import TrialFailed

MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPTED: Final = ", ".join(
    (
        MANIFEST_TYPE,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
_CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE: Final = "application/vnd.docker.image.rootfs.diff.tar"
_ANSWER_SECONDS: Final = 60.0


def digest_of(content: bytes) -> str:
    """`sha256:…`"""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class TinyImage:
    """An image of one layer: an empty archive, padded so that no two are the same."""

    layer: bytes
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @staticmethod
    def of(seed: str) -> TinyImage:
        layer = bytes(1024) + seed.encode()
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "size": len(config), "digest": digest_of(config)},
            "layers": [{"mediaType": _LAYER_TYPE, "size": len(layer), "digest": digest_of(layer)}],
        }
        return TinyImage(layer, config, json.dumps(manifest).encode())


class RegistryApi:
    """One registry; an async context manager. Raises TrialFailed for a refusal, httpx.HTTPError for no answer."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        # Published ports are reached directly, not through a proxy from the environment.
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=_ANSWER_SECONDS, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def push(self, repository: str, tag: str, image: TinyImage) -> None:
        for blob in (image.layer, image.config):
            begun = await self._ask("POST", f"/v2/{repository}/blobs/uploads/", 202)
            upload = httpx.URL(begun.headers["Location"]).copy_add_param("digest", digest_of(blob))
            # Only path and query: behind a published port the registry does not know its outer address.
            await self._ask("PUT", upload.raw_path.decode(), 201, blob, {"Content-Type": "application/octet-stream"})
        headers = {"Content-Type": MANIFEST_TYPE}
        await self._ask("PUT", f"/v2/{repository}/manifests/{tag}", 201, image.manifest, headers)

    async def manifest(self, repository: str, tag: str) -> bytes:
        answer = await self._ask("GET", f"/v2/{repository}/manifests/{tag}", 200, headers={"Accept": _ACCEPTED})
        return answer.content

    async def blob(self, repository: str, digest: str) -> bytes:
        return (await self._ask("GET", f"/v2/{repository}/blobs/{digest}", 200)).content

    async def image_size(self, repository: str, tag: str) -> int:
        """Bytes of all blobs of an image, each queried. Raises TrialFailed when a blob is missing."""
        manifest = json.loads(await self.manifest(repository, tag))
        if "manifests" in manifest:
            parts = [part["digest"] for part in manifest["manifests"]]
            return sum([await self.image_size(repository, digest) for digest in parts])
        blobs = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        found = [await self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", 200) for digest in blobs]
        return sum(int(answer.headers["Content-Length"]) for answer in found)

    async def _ask(
        self, method: str, path: str, expected: int, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        answer = await self._http.request(method, path, content=content, headers=headers)
        if answer.status_code != expected:
            raise TrialFailed(
                "registry_refused",
                f"the registry answered {method} {path} with HTTP {answer.status_code}, not {expected}",
            )
        return answer
