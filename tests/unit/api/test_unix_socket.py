"""The API's unix socket: who may use the file, and what becomes of it. Not here: its peers (cli/test_access.py)."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from dayfly.api.server import unix_socket
from dayfly.errors import PortsExhausted


def test_its_owner_alone_may_use_it_and_it_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / "dayfly.sock"
    with unix_socket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.connect(str(path))
        with pytest.raises(PortsExhausted, match=r"DAYFLY_LISTEN_SOCKET\): Address already in use"), unix_socket(path):
            pass
        assert path.is_socket()
    assert not path.exists()


def test_that_of_a_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dayfly.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    assert path.is_socket()
    with unix_socket(path):
        pass


def test_another_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "dayfly.sock"
    path.write_text("mine")
    with pytest.raises(PortsExhausted), unix_socket(path):
        pass
    assert path.read_text() == "mine"
