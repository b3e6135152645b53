"""Output files: replaced or written through, and the owner of the result."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.output_file import write_output

_WRITE = "import sys; from pathlib import Path; from dayfly.cli.output_file import write_output; "


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", _WRITE + code]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def test_a_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_output(path, "text")
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_keeps_its_mode_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a longer text")
    path.chmod(0o640)
    before = path.stat().st_ino
    write_output(path, b"new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 12345, 54321)
    write_output(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EACCES, errno.EROFS])
def test_what_cannot_be_replaced_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "file"
    path.write_text("a longer text")
    before = path.stat().st_ino

    def refuse(self: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", refuse)
    write_output(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", before)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CommandError, match="No space left"):
        write_output(path, "new")
    assert path.read_text() == "old"


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    for name in ("real", "missing"):
        (tmp_path / f"link-{name}").symlink_to(tmp_path / name)
        write_output(tmp_path / f"link-{name}", "new")
        assert (tmp_path / f"link-{name}").is_symlink()
        assert (tmp_path / name).read_text() == "new"


def test_a_device_stays_a_device() -> None:
    write_output(Path("/dev/null"), "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116 - the device, as the kernel has it


def test_a_fifo_stays_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_output(path, "text")
    reader.join(30)
    assert read == ["text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_a_pipe(path: str) -> None:
    assert python(f"print('first'); write_output(Path({path!r}), 'text')").stdout == "first\ntext"


def test_standard_output_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        file.write("before ")
        file.flush()
        argv = [sys.executable, "-c", _WRITE + "write_output(Path('/dev/stdout'), 'text'); print(' after')"]
        subprocess.run(argv, stdout=file, check=True, timeout=60)
    assert path.read_text() == "before text after\n"


def test_a_process_substitution() -> None:
    code = _WRITE + "write_output(Path(sys.argv[1]), 'text')"
    script = 'exec 3>&1; "$0" -c "$1" >(sed s/^/read:/ >&3); wait $!'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "read:text"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("~no-such-user/x", "no home directory is known"),
        ("{folder}/loop", "Too many levels of symbolic links"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_line(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = path.format(folder=tmp_path)
    with pytest.raises(CommandError) as caught:
        write_output(Path(path), "text")
    assert (caught.value.code, caught.value.detail) == ("not_written", f"{path}: {reason}")
