"""The disk of a layer, with the real tools on file systems of a few MiB. The tests run as root, as a bake does."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images.block_changes import changed_ranges
from dayfly.images.layer_disk import check_chain, extract, make_layer_disk
from dayfly.images.tree_changes import Trees

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw+ep, as `security.capability` has it."""


def call(*argv: str | Path) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def make_base(folder: Path) -> Path:
    """A disk of 64 MiB with a file system, as images/disk.py makes it."""
    tree = folder / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "usr/share/many").mkdir(parents=True)
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (tree / "etc/removed").write_text("x")
    (tree / "vmlinuz").symlink_to("etc/hosts")
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    (tree / "etc/setuid").write_text("x")
    os.chown(tree / "etc/setuid", 0, 42)
    (tree / "etc/setuid").chmod(0o6755)
    (tree / "etc/link").symlink_to("hosts")
    (tree / "usr/gone").mkdir()
    (tree / "usr/gone/file").write_text("x")
    for number in range(200):
        (tree / f"usr/share/many/{number}").write_bytes(os.urandom(50_000))
    raw, disk = folder / "base.raw", folder / "disk.qcow2"
    call("truncate", "-s", "64M", raw)
    call("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-d", tree, raw)
    call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
    raw.unlink()
    return disk


def change(tree: Path) -> None:
    (tree / "etc/hosts").write_text("127.0.0.1 localhost changed\n")
    (tree / "etc/removed").unlink()
    os.utime(tree / "etc/setuid", (1, 1))
    (tree / "etc/link").unlink()
    (tree / "etc/link").symlink_to("./removed")
    shutil.rmtree(tree / "usr/gone")
    (tree / "usr/gone").write_text("a file, where a folder was")
    (tree / "mail").mkdir()
    (tree / "mail").chmod(0o3775)
    new = tree / "usr/lib/new folder"
    new.mkdir(parents=True)
    (new / 'a "quoted" name').write_bytes(os.urandom(300_000))
    (new / "owned").write_text("x")
    (new / "of the epoch").write_text("x")
    os.utime(new / "of the epoch", (0, 0))
    os.chown(new / "owned", 70_000, 42)
    (new / "owned").chmod(0o4750)
    os.setxattr(new / "owned", "security.capability", CAPABILITY)
    (new / "owned link").symlink_to("owned")
    os.chown(new / "owned link", 70_000, 42, follow_symlinks=False)
    os.mkfifo(new / "pipe")
    os.mknod(new / "null", 0o20666, os.makedev(1, 3))
    # More entries than one block of a folder holds.
    for number in range(300):
        (new / f"{number:03}-{'n' * 60}").write_text(str(number))
    (tree / "usr/share").chmod(0o711)
    (tree / "usr/shared").write_text("new, in the folder that debugfs is in when it comes to the link")
    (tree / "vmlinuz").unlink()
    (tree / "vmlinuz").symlink_to("etc/new")


async def layer_over(disk: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """A layer with the changes of change(), over `disk`; and its root file system."""
    call("mkdir", folder)
    before = await extract(disk, folder)
    after = folder / "after"
    call("cp", "-a", before, after)
    change(after) if (after / "etc/removed").exists() else (after / "etc/more").write_text("more")
    work = folder / "work"
    work.mkdir()
    layer = disk.with_name(name)
    await make_layer_disk(disk, folder, after, layer, work=work)
    return layer, after


async def test_a_layer_has_the_changed_files_and_little_else(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    layer, after = await layer_over(base, tmp_path / "one", "layer.qcow2")
    assert base.stat().st_size > 10_000_000
    assert layer.stat().st_size < 2_500_000
    again = tmp_path / "again"
    again.mkdir()
    found = await extract(layer, again)
    assert list(Trees(found, after).commands()) == []
    call("e2fsck", "-f", "-n", again / "disk.raw")

    def debugfs(command: str) -> str:
        return call("debugfs", "-R", command, again / "disk.raw")

    owned = debugfs('stat "/usr/lib/new folder/owned"')
    assert "User: 70000   Group:    42" in owned
    assert "Mode:  04750" in owned
    assert "User: 70000   Group:    42" in debugfs('stat "/usr/lib/new folder/owned link"')
    assert "Mode:  06755" in debugfs("stat /etc/setuid")
    assert f"security.capability ({len(CAPABILITY)}) = {CAPABILITY.hex(' ')}" in debugfs(
        'ea_list "/usr/lib/new folder/owned"'
    ) + debugfs('ea_get -x "/usr/lib/new folder/owned" security.capability')
    assert [(found / name).stat().st_mode & 0o7777 for name in ("tmp", "mail")] == [0o1777, 0o3775]
    assert "Mode:  01777" in debugfs("stat /tmp")
    assert (found / "usr/lib/new folder/of the epoch").stat().st_mtime == 0
    assert "Type: FIFO" in debugfs('stat "/usr/lib/new folder/pipe"')
    assert "Device major/minor number: 01:03" in debugfs('stat "/usr/lib/new folder/null"')


async def test_a_layer_over_a_layer_is_over_the_whole_chain(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    one, _ = await layer_over(base, tmp_path / "one", "one.qcow2")
    two, after = await layer_over(one, tmp_path / "two", "two.qcow2")
    assert two.stat().st_size < 400_000
    # The folder may move: backing files are named without one.
    moved = tmp_path / "moved"
    moved.mkdir()
    for disk in (base, one, two):
        disk.rename(moved / disk.name)
    last = tmp_path / "last"
    last.mkdir()
    found = await extract(moved / "two.qcow2", last)
    assert list(Trees(found, after).commands()) == []
    assert (found / "etc/more").read_text() == "more"


async def test_a_disk_that_is_full_fails_the_bake(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    folder = tmp_path / "one"
    folder.mkdir()
    before = await extract(base, folder)
    after = folder / "after"
    call("cp", "-a", before, after)
    (after / "large").write_bytes(os.urandom(70_000_000))
    work = folder / "work"
    work.mkdir()
    with pytest.raises(BakeFailed, match="debugfs: "):
        await make_layer_disk(base, folder, after, tmp_path / "layer.qcow2", work=work)
    assert not (tmp_path / "layer.qcow2").exists()


async def test_a_name_that_debugfs_cannot_read_fails_the_bake(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    folder = tmp_path / "one"
    folder.mkdir()
    before = await extract(base, folder)
    call("cp", "-a", before, folder / "after")
    (folder / "after/a\nb").write_text("x")
    (folder / "work").mkdir()
    with pytest.raises(BakeFailed, match="line break"):
        await make_layer_disk(base, folder, folder / "after", tmp_path / "layer.qcow2", work=folder / "work")


async def test_a_disk_with_a_partition_table_cannot_have_layers(tmp_path: Path) -> None:
    call("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk.qcow2", "1M")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BakeFailed, match="no ext4 file system"):
        await extract(tmp_path / "disk.qcow2", target)


async def test_every_file_of_a_large_disk_keeps_its_mode(tmp_path: Path) -> None:
    tree, raw, disk = tmp_path / "tree", tmp_path / "base.raw", tmp_path / "disk.qcow2"
    (tree / "many").mkdir(parents=True)
    for number in range(21_000):
        (tree / "many" / str(number)).touch()
    (tree / "setuid").write_text("x")
    (tree / "setuid").chmod(0o4755)
    call("truncate", "-s", "64M", raw)
    call("mke2fs", "-q", "-F", "-t", "ext4", "-N", "22000", "-d", tree, raw)
    call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
    target = tmp_path / "target"
    target.mkdir()
    found = await extract(disk, target)
    assert len(list((found / "many").iterdir())) == 21_000
    assert (found / "setuid").stat().st_mode & 0o7777 == 0o4755


async def test_a_file_system_that_leads_out_of_the_bake_is_not_extracted(tmp_path: Path) -> None:
    tree, raw, disk = tmp_path / "tree", tmp_path / "base.raw", tmp_path / "disk.qcow2"
    tree.mkdir()
    (tree / "xx_evil").write_text("x")
    call("truncate", "-s", "16M", raw)
    call("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-d", tree, raw)
    raw.write_bytes(raw.read_bytes().replace(b"xx_evil", b"../evil"))
    call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BakeFailed, match="e2fsck of the disk below") as failed:
        await extract(disk, target)
    assert "illegal characters in its name" in failed.value.evidence["output"]
    assert sorted(path.name for path in target.iterdir()) == ["disk.raw"]


@pytest.mark.parametrize(
    ("backing", "options", "reason"),
    [
        ("/etc/passwd", ("-F", "raw", "-u"), "is over /etc/passwd"),
        ("../other.qcow2", ("-F", "qcow2", "-u"), r"is over \.\./other"),
        ("json:{}", ("-F", "qcow2", "-u"), "is over json"),
        ("other.qcow2", ("-F", "raw", "-u"), "is over other"),
        ("other.qcow2", ("-F", "qcow2", "-u"), "has no disk other"),
        ("disk.qcow2", ("-F", "qcow2", "-u"), "over itself"),
    ],
)
async def test_a_backing_file_of_this_machine_is_refused(
    tmp_path: Path, backing: str, options: tuple[str, ...], reason: str
) -> None:
    call("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, *options, tmp_path / "disk.qcow2", "1M")
    with pytest.raises(BakeFailed, match=reason):
        await check_chain(tmp_path / "disk.qcow2")


async def test_a_disk_that_is_a_link_or_has_its_data_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").symlink_to("/etc/passwd")
    with pytest.raises(BakeFailed, match="is no file"):
        await check_chain(tmp_path / "disk.qcow2")
    (tmp_path / "images").symlink_to(tmp_path)
    with pytest.raises(BakeFailed, match="has a link in place of the folder images"):
        await check_chain(tmp_path / "images" / "disk.qcow2")
    data = f"data_file={tmp_path / 'data'}"
    await asyncio.to_thread(call, "qemu-img", "create", "-q", "-f", "qcow2", "-o", data, tmp_path / "other.qcow2", "1M")
    with pytest.raises(BakeFailed, match="data are in another file"):
        await check_chain(tmp_path / "other.qcow2")


def test_ranges_of_changed_clusters_are_joined_up_to_a_length(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(b"\0" * 65536)
    after.write_bytes(b"\0" * 65536)
    with after.open("r+b") as file:
        for offset in (5, 4096, 8192, 40_000):
            file.seek(offset)
            file.write(b"x")
    found = list(changed_ranges(before, after, cluster_bytes=4096, most_bytes=8192))
    assert found == [(0, 8192), (8192, 4096), (36864, 4096)]
    assert list(changed_ranges(after, after, cluster_bytes=4096, most_bytes=8192)) == []


def test_data_that_became_a_hole_count_as_changed(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(b"x" * 65536)
    with after.open("wb") as file:
        file.truncate(65536)
    assert list(changed_ranges(before, after, cluster_bytes=65536, most_bytes=65536)) == [(0, 65536)]
