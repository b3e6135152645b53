"""The disk of a layer: the difference between its root file system and the disk below, as a qcow2 file over that disk.

No loop device, no mount: debugfs changes a copy of the disk's file system, and only changed clusters are written.
Not here: what is in the root file system (layer_rootfs.py), which clusters differ (block_changes.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from dayfly.errors import BakeFailed
from dayfly.images.block_changes import changed_ranges
from dayfly.images.process import EVIDENCE_LINES, run
from dayfly.images.rootfs import OnLine
from dayfly.images.tree_changes import Trees, quoted

CLUSTER_BYTES: Final = 16 * 1024
"""With open-iscsi and lvm2 (2.5 MB of packages) on `bare`: 11.5 MB, compressed 3.0; with 64 KiB 13.4 and 3.2 MB."""
_ECHO: Final = re.compile(r"debugfs: |debugfs \d|Allocated inode: \d+$|/\d+/\d+/\d+/\d+/")
"""debugfs repeats its commands, and names new inodes. All else is an error, but for its exit code, which is 0."""
_LISTED: Final = re.compile(r'debugfs: ls -p "/(?P<folder>.*)"')
_ENTRY: Final = re.compile(r"/\d+/(?:04|10)(?P<mode>\d{4})/\d+/\d+/(?P<name>.*)/\d*/")
"""A folder or a file, as `ls -p` shows it."""
_SPECIAL: Final = 0o7000
"""setuid, setgid and the sticky bit."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXT4: Final = b"\x53\xef"
_MAGIC_OFFSET: Final = 1024 + 56


async def check_chain(disk: Path) -> None:
    """Raises BakeFailed unless `disk` and the disks that back it are qcow2 files in one folder.

    The image may be another's: no file of this machine must get into a bake by the name of a backing file.
    """
    folder, seen = disk.parent, set[Path]()
    if folder.is_symlink():
        raise BakeFailed(f"the image below has a link in place of the folder {folder.name} of its disk {disk.name}")
    while disk not in seen:
        seen.add(disk)
        if not _is_file(disk):
            raise BakeFailed(f"the image below has no disk {disk.name}, or one that is no file")
        shown = json.loads(await run(["qemu-img", "info", "-f", "qcow2", "--output=json", disk]))
        if "data-file" in shown["format-specific"]["data"]:
            raise BakeFailed(f"the image below has the disk {disk.name}, whose data are in another file")
        if (backing := shown.get("backing-filename")) is None:
            return
        if not _PLAIN_NAME.fullmatch(backing) or shown.get("backing-filename-format") != "qcow2":
            raise BakeFailed(f"the disk {disk.name} of the image below is over {backing}: no qcow2 file in its folder")
        disk = folder / backing
    raise BakeFailed(f"the image below has the disk {disk.name}, which is over itself")


async def extract(disk: Path, target: Path, *, on_line: OnLine | None = None) -> Path:
    """Make `target`/disk.raw and `target`/rootfs of a node's disk, and of the disks that back it; the latter's path.

    debugfs extracts neither device nodes nor extended attributes. It writes wherever names in a damaged file system
    lead (`../name`, or a link and a file of one name), so the file system is checked before. Raises BakeFailed,
    DiskFull.
    """
    raw, rootfs = target / "disk.raw", target / "rootfs"
    await check_chain(disk)
    await run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw], on_line=on_line)
    with raw.open("rb") as file:
        file.seek(_MAGIC_OFFSET)
        if file.read(2) != _EXT4:
            raise BakeFailed("the disk below has no ext4 file system on the disk itself: it cannot have layers")
    await run(["e2fsck", "-f", "-n", raw], name="e2fsck of the disk below")
    await _extract_files(raw, rootfs, target / "commands")
    return rootfs


async def make_layer_disk(below: Path, extracted: Path, rootfs: Path, target: Path, *, work: Path) -> None:
    """Make `target` of the difference between `rootfs` and the disk `below`, of which `extracted` has been extracted.

    `target` names `below` as its backing file, without a folder: both have to be in one folder. `work` is an empty
    folder. Raises BakeFailed, DiskFull.
    """
    before, after = extracted / "disk.raw", work / "after.raw"
    await run(["cp", "--sparse=always", "--reflink=auto", before, after])
    values = work / "values"
    values.mkdir()
    await _debugfs(Trees(extracted / "rootfs", rootfs, values).commands(), after, work / "commands", write=True)
    await run(["e2fsck", "-f", "-n", after])
    await _check(after, rootfs, work)
    await _write(below, before, after, target, work)


async def _extract_files(disk: Path, target: Path, file: Path) -> None:
    """Make the folder `target` of the file system on `disk`."""
    await run(["mkdir", target])
    await _debugfs([f"rdump / {quoted(target)}"], disk, file, write=False)
    # debugfs extracts permissions, but neither setuid and setgid nor the sticky bit.
    commands = [f"ls -p {quoted(folder)}" for folder in _folders(target)]
    _restore_modes(target, await _debugfs(commands, disk, file, write=False))


async def _check(disk: Path, rootfs: Path, work: Path) -> None:
    """Raises BakeFailed where the disk's files are not those of `rootfs`: debugfs reports failures only in words."""
    found = work / "found"
    await _extract_files(disk, found, work / "commands")
    if difference := next(Trees(found, rootfs).commands(), None):
        raise BakeFailed("the changed disk is not the layer's root file system", evidence={"first": difference})
    shutil.rmtree(found)


async def _write(below: Path, before: Path, after: Path, target: Path, work: Path) -> None:
    """Write the changed clusters of `after` into a new file over `below`."""
    options = f"cluster_size={CLUSTER_BYTES},compat=1.1,lazy_refcounts=on"
    new = below.parent / target.name
    await run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", below.name, "-F", "qcow2", new])
    parts, lines = work / "parts", list[str]()
    parts.mkdir()
    with after.open("rb") as disk:
        for offset, length in changed_ranges(before, after, cluster_bytes=CLUSTER_BYTES, most_bytes=1 << 20):
            disk.seek(offset)
            (parts / str(offset)).write_bytes(disk.read(length))
            # A name without a folder: qemu-io reads neither spaces nor quotes in it.
            lines.append(f"write -q -s {offset} {offset} {length}\n")
    await run(["qemu-io", "-t", "unsafe", "-f", "qcow2", new], stdin="".join(lines), folder=parts)
    await run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", new, after])
    new.rename(target)


async def _debugfs(commands: Iterable[str], disk: Path, file: Path, *, write: bool) -> list[str]:
    """The lines of the output. Raises BakeFailed with all lines that report a failure."""
    _write_commands(commands, file)
    lines: list[str] = []  # all of them: run() returns the last lines only
    argv: list[str | Path] = ["debugfs", *(["-w"] if write else []), "-f", file, disk]
    await run(argv, name="debugfs", on_line=lines.append)
    if failed := [line for line in lines if not _ECHO.match(line)]:
        raise BakeFailed(f"debugfs: {failed[0]}", evidence={"output": "\n".join(failed[:EVIDENCE_LINES])})
    return lines


def _write_commands(commands: Iterable[str], file: Path) -> None:
    file.write_bytes(b"".join(os.fsencode(f"{line}\n") for line in commands))


def _folders(root: Path) -> list[PurePosixPath]:
    found = (path for path in root.rglob("*") if not path.is_symlink() and path.is_dir())
    return [PurePosixPath("/"), *(PurePosixPath("/") / path.relative_to(root) for path in found)]


def _restore_modes(root: Path, listed: Iterable[str]) -> None:
    folder = root
    for line in listed:
        if echo := _LISTED.fullmatch(line):
            folder = root / echo["folder"].replace('""', '"')
        elif (entry := _ENTRY.fullmatch(line)) and entry["name"] not in {".", ".."}:
            mode = int(entry["mode"], 8)
            if mode & _SPECIAL:
                (folder / entry["name"]).chmod(mode)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
