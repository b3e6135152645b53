"""docker-archives of small images: the host's static busybox, and a few files. No engine has them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.steps import pack_busybox


def write_archive(
    target: Path,
    reference: str,
    command: Sequence[str],
    files: Mapping[str, str] | None = None,
    *,
    entrypoint: Sequence[str] = (),
    below: bytes | None = None,
) -> Path:
    """Write the image `reference` (NAME:TAG), which runs `command`, to `target`. `files`: path below `/` → content.

    `below` is the tar of a layer below this one.
    """
    tree = target.with_suffix(".layer")
    pack_busybox(tree)
    with tarfile.open(tree, "a") as tar:
        for path, content in (files or {}).items():
            _add(tar, path, content.encode())
    layers = [*([below] if below is not None else []), tree.read_bytes()]
    tree.unlink()
    program: dict[str, object] = {"Env": ["PATH=/bin"], "Cmd": list(command)}
    if entrypoint:
        program["Entrypoint"] = list(entrypoint)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": program,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    names = [f"layer{number or ''}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": names}]
    with tarfile.open(target, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, "config.json", json.dumps(config).encode())
        for name, layer in zip(names, layers, strict=True):
            _add(tar, name, gzip.compress(layer, compresslevel=1, mtime=0))
    return target


def _add(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
