"""Pushes docker-archives to a registry over HTTP: no image of the tests is left on the engine."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import httpx

_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_SECONDS: Final = 300.0
"""An emulating machine is busy, and the largest layer has some 40 MiB."""


def push_all(
    archives: Iterable[Path],
    registry: str,
    transport: httpx.BaseTransport | None = None,
    *,
    rename: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """Push each archive to `registry` (HOST:PORT) under its own name; the names. Layers that are there are not sent.

    `rename` maps a name (NAME:TAG) to the one in the registry; `transport` is for tests. Raises httpx.HTTPError.
    """
    with httpx.Client(base_url=f"http://{registry}", timeout=_SECONDS, trust_env=False, transport=transport) as client:
        return tuple(_push(archive, client, rename) for archive in archives)


def _push(archive: Path, client: httpx.Client, rename: Callable[[str], str]) -> str:
    with tarfile.open(archive) as members:
        (image,) = json.loads(_read(members, "manifest.json"))
        (reference,) = image["RepoTags"]
        config = _read(members, image["Config"])
        layers = [_read(members, name) for name in image["Layers"]]
    reference = rename(str(reference))
    name, _, tag = reference.rpartition(":")
    for blob in (config, *layers):
        _push_blob(name, blob, client)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _described(config, _CONFIG),
        "layers": [_described(layer, _LAYER) for layer in layers],
    }
    headers = {"Content-Type": _MANIFEST}
    _checked(client.put(f"/v2/{name}/manifests/{tag}", content=json.dumps(manifest).encode(), headers=headers))
    return reference


def _push_blob(name: str, blob: bytes, client: httpx.Client) -> None:
    if client.head(f"/v2/{name}/blobs/{_digest(blob)}").status_code == httpx.codes.OK:
        return
    begun = _checked(client.post(f"/v2/{name}/blobs/uploads/"))
    upload = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": _digest(blob)})
    # On this connection, by whatever name the registry calls itself.
    path = upload.raw_path.decode()
    _checked(client.put(path, content=blob, headers={"Content-Type": "application/octet-stream"}))


def _described(blob: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(blob), "digest": _digest(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _read(members: tarfile.TarFile, name: str) -> bytes:
    member = members.extractfile(name)
    if member is None:
        raise tarfile.TarError(f"{name} is not a file")
    return member.read()


def _checked(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise httpx.HTTPStatusError(
            f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}",
            request=response.request,
            response=response,
        )
    return response
