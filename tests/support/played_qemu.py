"""A fake QEMU for tests/unit/drivers: QMP is faked; shell and files are real."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dayfly.domain.cluster import qemu_cmdline as qemu
from dayfly.domain.cluster.fencing import Fence
from dayfly.drivers.interfaces import ExecResult, Ram
from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.testing.fakes import FakeEngine

NODE = "dayfly-c1-node01"
ROLLUP = """55d0 ---p 00000000 00:00 0    [rollup]
Rss:              300 kB
Pss:               70 kB
Shared_Clean:      40 kB
Shared_Dirty:       2 kB
Private_Clean:      5 kB
Private_Dirty:     53 kB
"""


@dataclass
class Qemu:
    """A fake QMP server. `fate`: the last answer of query-migrate."""

    ram_file: Path
    status: str = "running"
    share: bool = True
    fate: dict[str, Any] = field(default_factory=lambda: {"status": "completed"})
    state: bytes = b"state"
    capabilities: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    when_saved: Callable[[], object] = lambda: None
    kvm: bool = False
    under_way: int = 0
    """The number of further queries that find another session's migration still running."""

    def answer(self, command: str, arguments: dict[str, Any]) -> Any:
        self.asked.append(command)
        match command:
            case "query-status":
                return {"status": self.status, "running": self.status == "running"}
            case "query-kvm":
                return {"enabled": self.kvm, "present": True}
            case "stop":
                self.status = "paused"
            case "cont":
                self.status = "running"
            case "qom-get":
                return {"share": self.share, "mem-path": str(self.ram_file)}[arguments["property"]]
            case "migrate-set-capabilities":
                self.capabilities = {one["capability"]: one["state"] for one in arguments["capabilities"]}
            case "migrate":
                assert self.status != "postmigrate", "QEMU refuses that"
                Path(arguments["uri"].removeprefix("file:")).write_bytes(self.state)
                self.status = "postmigrate" if self.fate["status"] == "completed" else self.status
                self.when_saved()
            case "migrate-incoming":
                assert self.status == "inmigrate"
                assert arguments["exit-on-error"] is False
                self.state = Path(arguments["uri"].removeprefix("file:")).read_bytes()
                self.status = "paused"
            case "migrate_cancel":
                self.under_way = 0
            case "query-migrate" if self.under_way > 0:
                self.under_way -= 1
                return {"status": "active"}
            case "query-migrate":
                first = self.asked[-2] in {"migrate", "migrate-incoming"}
                return {"status": "active"} if first else self.fate
        return {}


class Session:
    """One connection to `qemu`."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._send(
            {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}}
        )

    async def read(self) -> bytes:
        return await self._out.get()

    async def write(self, data: bytes) -> None:
        for line in data.splitlines():
            asked = json.loads(line)
            try:
                told = {"return": self._qemu.answer(asked["execute"], asked.get("arguments", {}))}
            except FileNotFoundError as error:
                told = {"error": {"class": "GenericError", "desc": f"Failed to open {error.filename}"}}
            self._send(told | {name: asked[name] for name in ("id",) if name in asked})

    def _send(self, message: dict[str, Any]) -> None:
        self._out.put_nowait(json.dumps(message).encode() + b"\n")


@dataclass
class Lab:
    """One machine whose container's files lie in `root`."""

    root: Path
    engine: FakeEngine
    qemu: Qemu
    machines: QemuMachines

    @property
    def folder(self) -> Path:
        return self.root / "saved" / "checkpoints" / "one" / "node01"

    async def save(self, *, ram: Ram = "shared", disk: bool = True, fence: int = 1, timeout: float = 10.0) -> int:
        return await self.machines.save(
            NODE, str(self.folder), ram=ram, disk=disk, fence=self.fence(fence), timeout=timeout
        )

    def fence(self, number: int) -> Fence:
        return Fence(str(self.root / "fence"), number)

    def left(self) -> list[str]:
        """All that lies beside and below the folder."""
        return sorted(path.name for path in self.folder.parent.rglob("*"))


def make_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A machine that runs, of a container of `NODE`."""
    ram, overlay = tmp_path / "node01.ram", tmp_path / "disk.qcow2"
    with ram.open("wb") as file:
        file.write(b"memory")
        file.truncate(64 << 20)
    overlay.write_bytes(b"disk")
    (tmp_path / "rollup").write_text(ROLLUP)
    played = Qemu(ram)
    paths = {qemu.OVERLAY: str(overlay), "/proc/1/smaps_rollup": str(tmp_path / "rollup")}

    async def execute(name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> ExecResult:
        assert name == NODE
        for path, here in paths.items():
            argv = [word.replace(path, here) for word in argv]
        async with asyncio.timeout(timeout):
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            stdout, stderr = await process.communicate()
        assert process.returncode is not None
        return ExecResult(process.returncode, stdout, stderr)

    @asynccontextmanager
    async def opened(name: str, argv: Sequence[str]) -> AsyncIterator[Session]:
        yield Session(played)

    engine = FakeEngine()
    monkeypatch.setattr(engine, "exec", execute)
    monkeypatch.setattr(engine, "open", opened)
    return Lab(tmp_path, engine, played, QemuMachines(engine))
