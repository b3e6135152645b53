"""A node's disk, kernel and initrd from its root file system: no loop device, no mount.

Not here: what is on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dayfly.errors import BakeFailed
from dayfly.images.process import run
from dayfly.images.rootfs import OnLine

FILES: Final = ("disk.qcow2", "vmlinuz", "initrd")
"""What make_disk leaves; an image has them in /dayfly (domain/image.py)."""
_GIB: Final = 1 << 30
_SECTOR_BYTES: Final = 512
_LARGEST_BLOCKS: Final = (1 << 40) // 4096
"""What the file system can grow to: 1 TiB. With room for more, growing would not fit into one journal transaction."""


async def make_disk(rootfs: Path, target: Path, *, root: Path, disk_gib: int, on_line: OnLine | None = None) -> None:
    """Fill `target` with disk.qcow2 (virtual size `disk_gib`), vmlinuz and initrd. Raises BakeFailed, DiskFull."""
    kernel = _only(rootfs / "boot", "vmlinuz-*")
    shutil.copyfile(kernel, target / "vmlinuz")
    await _make_initrd(rootfs, target, root / "base" / "initrd", disk_gib)
    raw = target / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(disk_gib * _GIB)
    # Checksums of metadata cost every emulated boot; journal and inode tables are written when they are needed.
    await run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed,^metadata_csum", "-J", "size=16"),
            *("-E", f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,resize={_LARGEST_BLOCKS}", "-d", rootfs, raw),
        ],
        on_line=on_line,
    )
    await run(
        [
            *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1,lazy_refcounts=on"),
            *(raw, target / "disk.qcow2"),
        ],
        on_line=on_line,
    )
    raw.unlink()


async def _make_initrd(rootfs: Path, target: Path, source: Path, disk_gib: int) -> None:
    tree = target / "initrd.tree"
    for folder in ("bin", "dev", "modules", "newroot", "proc", "sys"):
        (tree / folder).mkdir(parents=True)
    shutil.copy2(rootfs / "usr" / "bin" / "busybox", tree / "bin" / "busybox")
    for script in ("init", "udhcpc"):
        shutil.copy2(source / script, tree / script)
    (tree / "sectors").write_text(f"{disk_gib * _GIB // _SECTOR_BYTES}\n")
    modules = _only(rootfs / "lib" / "modules", "*")
    order = list(_insertion_order(modules, (source / "modules").read_text().split()))
    for module in order:
        shutil.copyfile(modules / module, tree / "modules" / Path(module).name)
    (tree / "modules" / "order").write_text("".join(f"{Path(module).name}\n" for module in order))
    pack = 'find . -print0 | sort -z | cpio --null --create --format=newc --owner=0:0 --quiet | lz4 -q -9 -l > "$1"'
    await run(["bash", "-o", "pipefail", "-ec", pack, "bash", target / "initrd"], folder=tree)
    shutil.rmtree(tree)


def _insertion_order(modules: Path, names: list[str]) -> Iterator[str]:
    """Paths below `modules` in the order they must be inserted; those built into the kernel are left out."""
    builtin = {Path(line).stem for line in (modules / "modules.builtin").read_text().split()}
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, depends = line.partition(":")
        needs[path] = depends.split()
    by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    done: set[str] = set()
    for name in names:
        if name in builtin:
            continue
        if name not in by_name:
            raise BakeFailed(f"the kernel of this base has no module {name}")
        # modules.dep lists all that a module needs, the nearest first.
        for path in (*reversed(needs[by_name[name]]), by_name[name]):
            if path not in done:
                done.add(path)
                yield path


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BakeFailed(f"{folder.name}/ has {len(found)} of {pattern}; a node has one kernel")
    return found[0]
