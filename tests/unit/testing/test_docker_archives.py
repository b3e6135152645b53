"""A docker-archive has an image's name, command and files, and digests that a registry and containerd accept."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO

from tests.support.docker_archives import write_archive


def test_an_image_of_busybox_and_files(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "web.tar", "library/web:1", ["sh", "-c", "true"], {"www/page": "words\n"})
    assert [one.name for one in tmp_path.iterdir()] == ["web.tar"]
    with tarfile.open(path) as tar:
        (manifest,) = json.load(member(tar, "manifest.json"))
        config = json.load(member(tar, manifest["Config"]))
        layer = gzip.decompress(member(tar, *manifest["Layers"]).read())
    assert manifest["RepoTags"] == ["library/web:1"]
    assert config["config"]["Cmd"] == ["sh", "-c", "true"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tree:
        assert tree.getmember("bin/busybox").size > 0
        assert member(tree, "www/page").read() == b"words\n"


def test_a_layer_below_and_an_entrypoint(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "web.tar", "web:1", (), entrypoint=["/bin/run"], below=b"a tar")
    with tarfile.open(path) as tar:
        (manifest,) = json.load(member(tar, "manifest.json"))
        config = json.load(member(tar, manifest["Config"]))
        layers = [gzip.decompress(member(tar, name).read()) for name in manifest["Layers"]]
    assert layers[0] == b"a tar"
    assert config["config"]["Entrypoint"] == ["/bin/run"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]


def member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    assert file is not None
    return file
