"""Which clusters of two raw disks differ. Holes are not read. Not here: what is done with them (layer_disk.py)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path


def changed_ranges(before: Path, after: Path, *, cluster_bytes: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each range of changed clusters, at most `most_bytes` long; both files have one size."""
    start = end = 0
    with before.open("rb") as old, after.open("rb") as new:
        for offset in _clusters_with_data(old.fileno(), new.fileno(), os.fstat(new.fileno()).st_size, cluster_bytes):
            if os.pread(old.fileno(), cluster_bytes, offset) == os.pread(new.fileno(), cluster_bytes, offset):
                continue
            if offset != end or end - start + cluster_bytes > most_bytes:
                if end > start:
                    yield start, end - start
                start = offset
            end = offset + cluster_bytes
    if end > start:
        yield start, end - start


def _clusters_with_data(old: int, new: int, size: int, cluster_bytes: int) -> Iterator[int]:
    """Offsets of clusters in which at least one of the files has data."""
    offset = 0
    while offset < size:
        offset = min(_next_data(old, offset, size), _next_data(new, offset, size)) // cluster_bytes * cluster_bytes
        if offset >= size:
            return
        yield offset
        offset += cluster_bytes


def _next_data(file: int, offset: int, size: int) -> int:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size  # A hole up to the end.
