"""Hears of other processes' commits on SQLite, which has no LISTEN: unix datagram sockets beside the database file.

Each open store has one socket in the folder `<database>.wake`, and after a commit sends what it concerns to all others
there. A socket that refuses belongs to a process that died: it is removed. One that is full belongs to a process that
does not read for now: it is passed over. Whoever finds its own socket that full tells everybody to look.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.store.wakeups import Wakeups

_SUFFIX: Final = ".sock"
_TOPICS: Final = 256
"""How many topics one message holds: it stays far below what a socket takes at once."""
_BYTES: Final = 64 * 1024
_QUEUE_LENGTH: Final = Path("/proc/sys/net/unix/max_dgram_qlen")


@dataclass(frozen=True)
class _Line:
    """The folder, opened, and our socket in it."""

    folder: int
    socket: socket.socket

    def address(self, name: str) -> str:
        # A socket's path has at most 107 bytes, a database's any number: the way through our descriptor is short.
        return f"/proc/self/fd/{self.folder}/{name}"


class Bell:
    """One socket that hears, and the way to all others of the same database."""

    def __init__(self, folder: Path, wakeups: Wakeups) -> None:
        self._folder = folder
        self._wakeups = wakeups
        self._name = f"{secrets.token_hex(8)}{_SUFFIX}"
        self._line: _Line | None = None
        self._full = 0
        """So many messages at once, and there may have been more."""

    def open(self) -> None:
        """Begin to hear, in the running event loop. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        self._line = _Line(folder, ours)
        os.fchmod(folder, 0o700)
        self._full = int(_QUEUE_LENGTH.read_text())
        ours.bind(self._line.address(self._name))
        asyncio.get_running_loop().add_reader(ours, self._hear, ours)

    def ring(self, topics: Collection[str]) -> None:
        """Tell all others. Never waits, and never fails: what is committed is committed."""
        if not topics or self._line is None:
            return
        # By the descriptor, for the folder may have been moved: pathlib lists by path only.
        names = os.listdir(self._line.folder)  # noqa: PTH208
        others = [name for name in names if name.endswith(_SUFFIX) and name != self._name]
        messages = list(_messages(topics)) if others else []
        for name in others:
            _tell(self._line, name, messages)

    def close(self) -> None:
        """Stop hearing. May be called again."""
        line, self._line = self._line, None
        if line is None:
            return
        asyncio.get_running_loop().remove_reader(line.socket)
        line.socket.close()
        _remove(line, self._name)
        os.close(line.folder)

    def _hear(self, ours: socket.socket) -> None:
        count = 0
        with suppress(BlockingIOError):  # all is read
            while True:
                for topic in ours.recv(_BYTES).decode().split("\n"):
                    self._wakeups.wake(topic)
                count += 1
        if count >= self._full:
            self._wakeups.wake_all()


def _tell(line: _Line, name: str, messages: Collection[bytes]) -> None:
    try:
        # A socket of its own: what one of the deaf does not read counts against the socket that sent it.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            for message in messages:
                sender.sendto(message, line.address(name))
    except ConnectionRefusedError:
        _remove(line, name)
    except OSError:
        return  # it is full, was closed this moment, or is out of reach: polling is the floor under every wake-up


def _remove(line: _Line, name: str) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(name, dir_fd=line.folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=line.folder)


def _messages(topics: Collection[str]) -> Iterator[bytes]:
    ordered = sorted(topics)
    for start in range(0, len(ordered), _TOPICS):
        yield "\n".join(ordered[start : start + _TOPICS]).encode()
