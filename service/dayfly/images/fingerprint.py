"""Content hashes: the same input gives the same name, on any machine.

Not here: the inputs of each phase (plan.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel


def fingerprint(root: Path, *values: object, files: Iterable[str] = ()) -> str:
    """sha256 in hex of `values` (JSON-like, or pydantic models) and of `files`: paths below `root`, folders as a whole.

    A file counts with its path, its content and its executable bits. Raises FileNotFoundError.
    """
    digest = hashlib.sha256(json.dumps([_plain(value) for value in values], sort_keys=True).encode())
    for path in sorted(set(files)):
        for file in _walk(root / path):
            content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
            # The mode bits, not os.access(): a bake in a container runs as another user.
            mode = "x" if file.exists() and file.stat().st_mode & 0o111 else "-"
            head = f"\0{file.relative_to(root)}\0{mode}\0{len(content)}\0"
            digest.update(head.encode() + content)
    return digest.hexdigest()


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name != "__pycache__":
            yield from _walk(child)


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
