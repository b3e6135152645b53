"""The part of an image that has arrived: a file, with the validator of the server that sent the part.

Not here: the download (download.py).
"""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.errors import DiskFull

ENDINGS: Final = (".part", ".part.json")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Part:
    """The file `path` with the ending `.part`. A full disk removes it: the disk's other users need the room."""

    path: Path

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, content: bytes) -> None:
        """Raises DiskFull."""
        try:
            with self.path.open("ab") as file:
                file.write(content)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.remove()
            raise DiskFull(f"no space left in {self.path.parent} for an image") from error

    def require_space(self, more_bytes: int) -> None:
        """Raises DiskFull where the disk lacks room for `more_bytes`, before they are downloaded."""
        free = shutil.disk_usage(self.path.parent).free
        if more_bytes > free:
            self.remove()
            raise DiskFull(
                f"{self.path.parent} has {free >> 20} MiB of free space; the image needs {more_bytes >> 20} MiB more"
            )

    def remember(self, url: str, validator: str) -> None:
        """Keep the `validator` (an ETag, or a date of change) that `url` sent with the part; empty: it sent none."""
        self._note.write_text(json.dumps({"url": url, "validator": validator}))

    def validator(self, url: str) -> str:
        """The validator of `url`; empty where the part came from elsewhere, or without one."""
        try:
            note = json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return ""
        return str(note.get("validator", "")) if isinstance(note, dict) and note.get("url") == url else ""

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")
