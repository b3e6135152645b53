"""Writes an output file: `--output`, `--kubeconfig`, and the user's kubeconfig.

A regular file is replaced atomically and keeps its owner and mode; a new one has mode 0600. Links are followed.
Devices, FIFOs, descriptors (/dev/stdout, process substitutions) and mount points are written to, never replaced.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode

_OWN_DESCRIPTOR: Final = re.compile(rf"/(?:dev/fd|proc/(?:self|thread-self|{os.getpid()})/fd)/(\d+)")
_MAX_LINKS: Final = 40
_NOT_REPLACEABLE: Final = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})
"""The file is a mount point, or its directory is read-only; the file itself may be writable."""


def write_output(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`. Raises CommandError."""
    data = content.encode() if isinstance(content, str) else content
    with reported(path):
        path = expand_home(path)
        descriptor = _own_descriptor(path)
        if descriptor is not None:
            sys.stdout.flush()
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            return
        target = Path(os.path.realpath(path))
        try:
            status = target.stat()
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _replace(target, data, None)
            return
        if not stat.S_ISREG(status.st_mode):
            _write_in_place(target, data, truncate=False)
            return
        try:
            _replace(target, data, status)
        except OSError as error:
            if error.errno not in _NOT_REPLACEABLE:
                raise
            _write_in_place(target, data, truncate=True)


def expand_home(path: Path) -> Path:
    """`path` with `~` and `~user` replaced. Raises CommandError where the home directory is not known."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CommandError("not_written", f"{path}: no home directory is known", exit_code=ExitCode.USAGE) from error


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as CommandError."""
    try:
        yield
    except OSError as error:
        raise CommandError("not_written", f"{path}: {error.strerror or error}") from error


def _own_descriptor(path: Path) -> int | None:
    """The number of this process' descriptor that `path` leads to, as /dev/stdout and /dev/fd/63 do.

    Opening such a path again would start at the beginning of a file, and fails for sockets.
    """
    current = os.path.abspath(path)  # noqa: PTH100 - Path.resolve() would follow the links
    for _ in range(_MAX_LINKS):
        found = _OWN_DESCRIPTOR.fullmatch(current)
        if found:
            return int(found[1])
        folder = os.path.realpath(os.path.dirname(current))  # noqa: PTH120 - as above
        found = _OWN_DESCRIPTOR.fullmatch(f"{folder}/{os.path.basename(current)}")  # noqa: PTH119 - as above
        if found:
            return int(found[1])
        if not Path(current).is_symlink():
            return None
        current = os.path.normpath(Path(folder) / Path(current).readlink())
    return None


def _replace(target: Path, data: bytes, before: os.stat_result | None) -> None:
    """Replace `target` atomically, with the owner and the mode of `before`."""
    # mkstemp creates files of mode 0600
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if before is not None:
                created = os.fstat(file.fileno())
                if (created.st_uid, created.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.write(data)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_in_place(target: Path, data: bytes, *, truncate: bool) -> None:
    flags = os.O_WRONLY | os.O_NOCTTY | (os.O_TRUNC if truncate else 0)
    with os.fdopen(os.open(target, flags), "wb") as file:
        file.write(data)
