"""docker-archives are pushed to a registry, each blob once."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.conformance.registry import push_all


class StandIn:
    """A registry after the distribution specification: refuses blobs whose content is not their digest's."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, dict[str, object]] = {}
        self.uploads = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:\w+)", path):
            return httpx.Response(200 if f"{found[1]}@{found[2]}" in self.blobs else 404)
        if re.fullmatch(r"/v2/.+/blobs/uploads/", path):
            self.uploads += 1
            return httpx.Response(202, headers={"Location": f"http://registry:5000{path}{self.uploads}?_state=x"})
        if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/\d+", path):
            digest = request.url.params["digest"]
            assert request.url.host == "127.0.0.1"
            assert request.url.params["_state"] == "x"
            assert digest == f"sha256:{hashlib.sha256(request.content).hexdigest()}"
            self.blobs[f"{found[1]}@{digest}"] = request.content
            return httpx.Response(201)
        found = re.fullmatch(r"/v2/(.+)/manifests/(.+)", path)
        assert found, path
        self.manifests[f"{found[1]}:{found[2]}"] = json.loads(request.content)
        return httpx.Response(201)


def archive(path: Path, name: str, layer: bytes) -> Path:
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    members = {"manifest.json": json.dumps(manifest).encode(), "config.json": b'{"os":"linux"}', "layer.tar": layer}
    with tarfile.open(path, "w") as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_images_keep_their_names_and_blobs(tmp_path: Path) -> None:
    registry = StandIn()
    archives = [archive(tmp_path / "a.tar", "library/busybox:1.29", b"layer")]
    assert push_all(archives, "127.0.0.1:1", httpx.MockTransport(registry)) == ("library/busybox:1.29",)
    manifest = registry.manifests["library/busybox:1.29"]
    digests = [str(one["digest"]) for one in (manifest["config"], *manifest["layers"])]  # type: ignore[misc]
    assert [registry.blobs[f"library/busybox@{digest}"] for digest in digests] == [b'{"os":"linux"}', b"layer"]


def test_images_under_other_names(tmp_path: Path) -> None:
    registry = StandIn()
    archives = [archive(tmp_path / "a.tar", "k8s.gcr.io/pause:3.2", b"layer")]
    pushed = push_all(
        archives, "127.0.0.1:1", httpx.MockTransport(registry), rename=lambda name: name.partition("/")[2]
    )
    assert pushed == ("pause:3.2",)
    assert set(registry.manifests) == {"pause:3.2"}


def test_a_second_push_sends_no_layer(tmp_path: Path) -> None:
    registry = StandIn()
    archives = [archive(tmp_path / "a.tar", "library/busybox:1.29", b"layer")]
    for _ in range(2):
        push_all(archives, "127.0.0.1:1", httpx.MockTransport(registry))
    assert registry.uploads == 2


def test_a_refusal_says_what_the_registry_answered(tmp_path: Path) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(507, text="no space left")

    archives = [archive(tmp_path / "a.tar", "library/busybox:1.29", b"layer")]
    with pytest.raises(httpx.HTTPStatusError, match="no space left"):
        push_all(archives, "127.0.0.1:1", httpx.MockTransport(refuse))
