"""What differs between two root file systems, as the debugfs commands that make one of the other.

The commands change an ext4 file system in place, so that unchanged files keep their blocks: `mke2fs -d` of the changed
tree would move nearly every file, and the difference would be as large as the disk.
Not here: who runs the commands (layer_disk.py).
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from dayfly.errors import BakeFailed


@dataclass(frozen=True)
class Trees:
    """The trees `before` and `after`. `values`: an empty folder for the values of extended attributes.

    None: extended attributes, owners of symbolic links, device nodes, pipes and sockets do not count, because debugfs
    extracts none of them.
    """

    before: Path
    after: Path
    values: Path | None = None

    def commands(self) -> Iterator[str]:
        """debugfs commands, none for equal trees. A file's time counts, a folder's does not.

        Raises BakeFailed for a name that a command cannot contain.
        """
        yield from self._folder(PurePosixPath("/"))

    def _folder(self, folder: PurePosixPath) -> Iterator[str]:
        before, after = (_names(tree / folder.relative_to("/")) for tree in (self.before, self.after))
        for name in sorted(before - after):
            yield from self._removed(folder / name)
        for name in sorted(after):
            yield from self._entry(folder / name, is_new=name not in before)

    def _entry(self, path: PurePosixPath, *, is_new: bool) -> Iterator[str]:
        old, new = self.before / path.relative_to("/"), self.after / path.relative_to("/")
        kind = stat.S_IFMT(new.lstat().st_mode)
        if self.values is None and kind not in {stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK}:
            return
        if not is_new and not _same_content(old, new):
            yield from self._removed(path)
            is_new = True
        if is_new:
            yield f"cd {quoted(path.parent)}"
            yield _creation(new, path)
        is_counted = self.values is not None or kind != stat.S_IFLNK
        if is_new or (is_counted and _attributes(old) != _attributes(new)):
            yield from _set_attributes(new, path)
        if self.values is not None:
            yield from self._extended(old if not is_new else None, new, path)
        if kind == stat.S_IFDIR:
            yield from self._folder(path) if not is_new else self._content(path)

    def _content(self, folder: PurePosixPath) -> Iterator[str]:
        for name in sorted(_names(self.after / folder.relative_to("/"))):
            yield from self._entry(folder / name, is_new=True)

    def _removed(self, path: PurePosixPath) -> Iterator[str]:
        old = self.before / path.relative_to("/")
        if path.parent == PurePosixPath("/"):
            # debugfs looks for an entry of the root, whose folder has no name, in the present folder.
            yield 'cd "/"'
        if not stat.S_ISDIR(old.lstat().st_mode):
            yield f"rm {quoted(path)}"
            return
        for name in sorted(_names(old)):
            yield from self._removed(path / name)
        yield f"rmdir {quoted(path)}"

    def _extended(self, old: Path | None, new: Path, path: PurePosixPath) -> Iterator[str]:
        assert self.values is not None  # noqa: S101 - asked before
        had, has = ({} if old is None else _extended_attributes(old)), _extended_attributes(new)
        for name in sorted(had.keys() - has.keys()):
            yield f"ea_rm {quoted(path)} {name}"
        for name, value in sorted(has.items()):
            if had.get(name) != value:
                file = self.values / str(sum(1 for _ in self.values.iterdir()))
                file.write_bytes(value)
                yield f"ea_set -f {quoted(file)} {quoted(path)} {name}"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _same_content(old: Path, new: Path) -> bool:
    """Whether type and content, target or device are equal."""
    was, now = old.lstat(), new.lstat()
    if stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode):
        return False
    if stat.S_ISREG(now.st_mode):
        return was.st_size == now.st_size and filecmp.cmp(old, new, shallow=False)
    if stat.S_ISLNK(now.st_mode):
        return _target(old) == _target(new)
    return was.st_rdev == now.st_rdev


def _attributes(path: Path) -> tuple[int, int, int, int | None]:
    """Mode, owner, group, and for a file its time; the mode of a symbolic link has no meaning."""
    found = path.lstat()
    mode = 0 if stat.S_ISLNK(found.st_mode) else found.st_mode
    # 0 is a time, too: files of container images often have it.
    time = int(found.st_mtime) if stat.S_ISREG(found.st_mode) else None
    return mode, found.st_uid, found.st_gid, time


def _extended_attributes(path: Path) -> dict[str, bytes]:
    if path.is_symlink():
        return {}
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _creation(new: Path, path: PurePosixPath) -> str:
    """The command that creates `path`, in the folder that `cd` has chosen."""
    mode, name = new.lstat().st_mode, quoted(path.name)
    if stat.S_ISDIR(mode):
        return f"mkdir {name}"
    if stat.S_ISREG(mode):
        return f"write {quoted(new)} {name}"
    if stat.S_ISLNK(mode):
        return f"symlink {name} {quoted(_target(new))}"
    if stat.S_ISFIFO(mode):
        return f"mknod {name} p"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        device = new.lstat().st_rdev
        return f"mknod {name} {'c' if stat.S_ISCHR(mode) else 'b'} {os.major(device)} {os.minor(device)}"
    raise BakeFailed(f"{path} is a socket: an image cannot have one")


def _set_attributes(new: Path, path: PurePosixPath) -> Iterator[str]:
    mode, owner, group, time = _attributes(new)
    name = quoted(path)
    if mode:
        yield f"sif {name} mode 0{mode:o}"
    yield f"sif {name} uid {owner}"
    yield f"sif {name} gid {group}"
    if time is not None:
        yield f"sif {name} mtime @{time}"


def _target(link: Path) -> str:
    return os.readlink(link)  # noqa: PTH115 - a Path would change targets such as `./name`


def quoted(text: str | PurePath) -> str:
    """An argument of a debugfs command. A quote within quotes is doubled."""
    if "\n" in str(text):
        raise BakeFailed(f"the name {str(text)!r} has a line break: debugfs cannot read it")
    return '"' + str(text).replace('"', '""') + '"'
