"""Saving, loading and asking machines: QEMU is played here, the shell and the files are real."""

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

from dayfly.domain import qemu
from dayfly.domain.fence import Fence
from dayfly.drivers.fake import FakeEngine
from dayfly.drivers.machines import QemuMachines
from dayfly.drivers.protocols import ExecResult, Ram
from dayfly.errors import CommandFailed, DiskFull, LeaseLost

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
    """QEMU's end of QMP sessions. `fate`: what becomes of a migration, as query-migrate tells it in the end."""

    ram_file: Path
    status: str = "running"
    share: bool = True
    fate: dict[str, Any] = field(default_factory=lambda: {"status": "completed"})
    state: bytes = b"state"
    capabilities: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    when_saved: Callable[[], object] = lambda: None
    under_way: int = 0
    """So many more looks find a migration still under way that somebody else began."""

    def answer(self, command: str, arguments: dict[str, Any]) -> Any:
        self.asked.append(command)
        match command:
            case "query-status":
                return {"status": self.status, "running": self.status == "running"}
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
            told = self._qemu.answer(asked["execute"], asked.get("arguments", {}))
            self._send({"return": told} | {name: asked[name] for name in ("id",) if name in asked})

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


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
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


async def test_what_a_dead_worker_was_saving_does_not_stop_a_machine_that_goes_on(lab: Lab) -> None:
    lab.qemu.status, lab.qemu.under_way = "paused", 1000
    await lab.machines.go_on(NODE)
    assert lab.qemu.asked.index("migrate_cancel") < lab.qemu.asked.index("cont")
    lab.qemu.under_way = 1000
    await lab.save()
    assert lab.qemu.under_way == 0


async def test_what_a_dead_worker_began_to_load_is_waited_for(lab: Lab) -> None:
    lab.qemu.status, lab.qemu.under_way = "inmigrate", 3
    await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
    assert "migrate-incoming" not in lab.qemu.asked


async def test_memory_that_forks_can_map_is_a_sparse_file_beside_the_state(lab: Lab) -> None:
    size = await lab.save()
    assert lab.qemu.capabilities == {"x-ignore-shared": True, "mapped-ram": False}
    assert lab.left() == ["disk.qcow2", "node01", "ram", "state"]
    ram = lab.folder / qemu.RAM
    assert ram.stat().st_size == 64 << 20
    assert ram.read_bytes()[:6] == b"memory"
    assert size < 1 << 20, "what is empty takes no room"
    assert await lab.machines.saved(NODE, str(lab.folder))


async def test_memory_that_is_read_once_lies_within_the_state_and_a_kept_disk_is_not_copied(lab: Lab) -> None:
    await lab.save(ram="whole", disk=False)
    assert lab.qemu.capabilities == {"x-ignore-shared": False, "mapped-ram": True}
    assert lab.left() == ["node01", "state"]


async def test_saved_again_it_replaces_what_was_there_and_is_never_half_there(lab: Lab) -> None:
    await lab.save()
    lab.qemu.state = b"later"
    # Its own earlier save left it so; QEMU saves no such machine.
    assert lab.qemu.status == "postmigrate"
    await lab.save(ram="whole", disk=False)
    assert (lab.folder / qemu.STATE).read_bytes() == b"later"
    assert lab.left() == ["node01", "state"]
    assert lab.qemu.asked.count("cont") == 1


async def test_a_fork_whose_memory_is_partly_its_templates(lab: Lab) -> None:
    lab.qemu.share = False
    with pytest.raises(CommandFailed, match="cannot be shared again"):
        await lab.save()
    assert lab.qemu.status == "running"
    assert lab.left() == []
    await lab.save(ram="whole")
    assert lab.left() == ["disk.qcow2", "node01", "state"]


@pytest.mark.parametrize(
    ("told", "kind"),
    [("Unable to write to file: No space left on device", DiskFull), ("State blocked by device", CommandFailed)],
)
async def test_qemu_that_cannot_save_leaves_nothing_and_what_was_there(
    lab: Lab, told: str, kind: type[Exception]
) -> None:
    await lab.save()
    before = lab.left()
    lab.qemu.fate = {"status": "failed", "error-desc": told}
    with pytest.raises(kind, match=told):
        await lab.save()
    assert lab.left() == before
    assert await lab.machines.saved(NODE, str(lab.folder))


async def test_a_disk_that_cannot_be_copied_leaves_nothing_and_a_machine_that_can_go_on(lab: Lab) -> None:
    (lab.root / "disk.qcow2").unlink()
    with pytest.raises(CommandFailed, match=r"disk\.qcow2"):
        await lab.save()
    assert lab.left() == []
    assert not await lab.machines.saved(NODE, str(lab.folder))
    await lab.machines.go_on(NODE)
    assert await lab.machines.status(NODE) == "running"


async def test_a_save_that_does_not_end(lab: Lab) -> None:
    lab.qemu.fate = {"status": "active"}
    with pytest.raises(CommandFailed, match=r"not saved within 0.2 s"):
        await lab.save(timeout=0.2)
    assert lab.left() == []


async def test_what_a_killed_worker_left_is_cleared_away_with_the_next_save(lab: Lab) -> None:
    for name in ("node01.new-1234", "node01.old"):
        (lab.folder.parent / name).mkdir(parents=True)
    assert not await lab.machines.saved(NODE, str(lab.folder))
    await lab.save(ram="whole", disk=False)
    assert lab.left() == ["node01", "state"]


async def test_whose_claim_is_anothers_by_now_changes_nothing(lab: Lab) -> None:
    await lab.save(fence=2)
    before, lab.qemu.state = lab.left(), b"later"
    lab.qemu.asked.clear()
    with pytest.raises(LeaseLost):
        await lab.save(fence=1)
    with pytest.raises(LeaseLost):
        await lab.machines.discard(NODE, str(lab.folder.parent), fence=lab.fence(1))
    assert lab.left() == before
    assert (lab.folder / qemu.STATE).read_bytes() == b"state"
    assert lab.qemu.asked == []


async def test_what_was_begun_under_a_claim_that_is_lost_meanwhile_does_not_count(lab: Lab) -> None:
    await lab.machines.discard(NODE, str(lab.folder), fence=lab.fence(1))
    lab.qemu.when_saved = lambda: (lab.root / "fence").write_text("2\n")
    with pytest.raises(LeaseLost):
        await lab.save(fence=1)
    assert lab.left() == []


async def test_a_machine_that_somebody_lets_go_on_is_not_saved(lab: Lab) -> None:
    lab.qemu.when_saved = lambda: setattr(lab.qemu, "status", "running")
    with pytest.raises(CommandFailed, match="somebody let it go on"):
        await lab.save()
    assert lab.left() == []


async def test_loaded_it_stands_still(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status, lab.qemu.state = "inmigrate", b""
    await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
    assert (await lab.machines.status(NODE), lab.qemu.state) == ("paused", b"state")
    assert lab.qemu.capabilities == {"x-ignore-shared": False, "mapped-ram": True}


async def test_loaded_it_goes_on_when_all_else_is_done_however_long_that_takes(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status = "inmigrate"
    loaded, others = asyncio.Event(), asyncio.Event()

    async def then() -> None:
        loaded.set()
        await others.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=0.2, then=then))
        await loaded.wait()
        await asyncio.sleep(0.3)
        assert lab.qemu.status == "paused"
        others.set()
    assert lab.qemu.status == "running"


async def test_loaded_in_vain_it_does_not_go_on(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status = "inmigrate"

    async def then() -> None:
        raise CommandFailed("another was not loaded")

    with pytest.raises(CommandFailed, match="another"):
        await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10, then=then)
    assert lab.qemu.status == "paused"


async def test_nothing_goes_on_before_it_is_loaded(lab: Lab) -> None:
    lab.qemu.status = "inmigrate"
    with pytest.raises(CommandFailed, match="nothing was loaded"):
        await lab.machines.go_on(NODE)
    assert lab.qemu.status == "inmigrate"


async def test_a_state_that_does_not_fit(lab: Lab) -> None:
    await lab.save()
    lab.qemu.status, lab.qemu.fate = "inmigrate", {"status": "failed", "error-desc": "Unknown savevm section"}
    with pytest.raises(CommandFailed, match="Unknown savevm section"):
        await lab.machines.load(NODE, str(lab.folder), ram="shared", timeout=10)


async def test_discarded_with_all_that_is_below_and_again(lab: Lab) -> None:
    await lab.save()
    for _ in range(2):
        await lab.machines.discard(NODE, str(lab.folder.parent), fence=lab.fence(1))
        assert not lab.folder.parent.exists()


async def test_memory_by_the_kernels_own_accounting(lab: Lab) -> None:
    memory = await lab.machines.memory(NODE)
    assert (memory.shared, memory.private, memory.proportional) == (42 << 10, 58 << 10, 70 << 10)
    (lab.root / "rollup").write_text("nothing\n")
    with pytest.raises(CommandFailed, match="accounting"):
        await lab.machines.memory(NODE)


async def test_a_look_that_was_killed_does_not_say_that_nothing_is_saved(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **__: object) -> ExecResult:
        return ExecResult(137, b"", b"")

    monkeypatch.setattr(lab.engine, "exec", killed)
    with pytest.raises(CommandFailed, match="exit code 137"):
        await lab.machines.saved(NODE, str(lab.folder))


async def test_one_whose_saving_never_ends_does_not_go_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dayfly.drivers.machines._SHORT_SECONDS", 0.1)
    lab.qemu.status, lab.qemu.under_way = "paused", 1
    monkeypatch.setattr(lab.qemu, "fate", {"status": "cancelling"})
    with pytest.raises(CommandFailed, match="does not stop being saved"):
        await lab.machines.go_on(NODE)
    assert "cont" not in lab.qemu.asked
