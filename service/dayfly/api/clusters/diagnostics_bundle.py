"""Packs everything about one cluster into a bounded tarball without secrets, for a post-mortem elsewhere.

Not here: how the parts of a living cluster are collected (steps/observe/diagnostics.py).
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from pydantic import TypeAdapter

from dayfly.api.dependencies import ApiServices
from dayfly.domain.cluster import model as domain
from dayfly.schemas.clusters import Cluster, Event, Step

MAX_EVENTS: Final = 5000
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 8 * 1024 * 1024
_EVENTS_A_LOOK: Final = 1000


async def last_events(cluster_id: str, services: ApiServices) -> Sequence[domain.Event]:
    """The last MAX_EVENTS events, oldest first."""
    kept: deque[domain.Event] = deque(maxlen=MAX_EVENTS)
    after = 0
    while part := await services.store.clusters.events(cluster_id, after=after, limit=_EVENTS_A_LOOK):
        kept.extend(part)
        after = part[-1].id
    return tuple(kept)


def records(cluster: Cluster, events: Sequence[domain.Event]) -> Mapping[str, bytes]:
    """The files from the database: the cluster as the API shows it, its steps, its events."""
    return {
        "cluster.json": cluster.model_dump_json(indent=2, exclude={"steps"}).encode(),
        "steps.json": TypeAdapter(tuple[Step, ...]).dump_json(cluster.steps, indent=2),
        "events.json": TypeAdapter(list[Event]).dump_json(list(map(Event.of, events)), indent=2),
    }


def pack(folder: str, records: Mapping[str, bytes], texts: Mapping[str, str], at: datetime) -> bytes:
    """A gzip'ed tar of `folder`: whole records, and the last MAX_TEXT_BYTES of each text; reproducible bytes.

    `left-out.txt` names the texts beyond MAX_BYTES. CPU-bound: run this in a thread.
    """
    files = dict(records)
    room = MAX_BYTES - sum(map(len, files.values()))
    left_out = []
    for name in sorted(texts):
        content = _tail(texts[name])
        if len(content) > room:
            left_out.append(name)
            continue
        room -= len(content)
        files[_file_name(name)] = content
    if left_out:
        files["left-out.txt"] = "".join(f"{name}: the bundle is full\n" for name in left_out).encode()
    return gzip.compress(_tar(folder, files, at), mtime=0)


def _tar(folder: str, files: Mapping[str, bytes], at: datetime) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, int(at.timestamp())
            tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def _tail(text: str) -> bytes:
    """The last MAX_TEXT_BYTES, from the first whole character on."""
    return text.encode(errors="replace")[-MAX_TEXT_BYTES:].decode(errors="ignore").encode()


def _file_name(name: str) -> str:
    """A path within the folder. The suffix keeps a file's name different from a folder's name."""
    parts = PurePosixPath(name.encode(errors="replace").decode()).parts
    path = "/".join(part for part in parts if part not in {"/", "//", ".."}) or "unnamed"
    return path if path.endswith(".json") else f"{path}.txt"
