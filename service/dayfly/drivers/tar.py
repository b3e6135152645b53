"""Packs files as one tar that a container engine, or tar on a node, unpacks at /."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

from dayfly.drivers.interfaces import File


def archive(files: Sequence[File], folders: Mapping[str, int] | None = None) -> bytes:
    """`files` owned by root, with their modes; the same input gives the same bytes.

    `folders` maps a path to its mode. The unpacking program creates other missing folders.
    """
    buffer = io.BytesIO()
    # GNU's format: busybox's tar reads its long names, but little of PAX.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, mode in (folders or {}).items():
            folder = tarfile.TarInfo(path.lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            folder.uname = folder.gname = "root"
            tar.addfile(folder)
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(file.content), file.mode
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
