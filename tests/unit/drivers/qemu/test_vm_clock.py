"""Setting a guest's clock: the fake guest's clock is wrong in several ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.errors import CommandFailed, SshTimeout
from dayfly.testing.fakes import FakeEngine
from tests.support.clock import FakeClock

NODE = "dayfly-c1-node01"


@dataclass
class Guest:
    """An agent in a guest whose clock is `ahead` by seconds. `beside`: by how much each new time misses its mark."""

    clock: FakeClock
    beside: list[float]
    ahead: float = -3600.0
    exit_code: int = 0
    attempts: int = 0
    time: object = None
    """In place of its clock's time."""
    _out: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def read(self) -> bytes:
        return await self._out.get()

    async def write(self, data: bytes) -> None:
        asked = json.loads(data.lstrip(b"\xff"))
        answer = self._answer(asked["execute"], asked.get("arguments", {}))
        start = b"\xff" if asked["execute"] == "guest-sync-delimited" else b""
        self._out.put_nowait(start + json.dumps({"return": answer}).encode() + b"\n")

    def _answer(self, command: str, arguments: dict[str, Any]) -> Any:
        now = self.clock.now().timestamp()
        match command:
            case "guest-sync-delimited":
                return arguments["id"]
            case "guest-exec":
                self.attempts += 1
                beside = self.beside.pop(0) if len(self.beside) > 1 else self.beside[0]
                self.ahead += float(arguments["arg"][-1].removesuffix(" seconds")) + beside
                return {"pid": 1}
            case "guest-exec-status":
                return {"exited": True, "exitcode": self.exit_code}
            case _:
                return round((now + self.ahead) * 1e9) if self.time is None else self.time


def machines_of(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> QemuMachines:
    @asynccontextmanager
    async def opened(name: str, argv: Sequence[str]) -> AsyncIterator[Guest]:
        yield guest

    engine = FakeEngine()
    monkeypatch.setattr(engine, "open", opened)
    return QemuMachines(engine, clock=guest.clock)


@pytest.mark.parametrize("ahead", [-3600.0, -0.6, 0.6, 86400.0])
@pytest.mark.parametrize(("beside", "attempts"), [([0.1], 1), ([1.3, 0.1], 2), ([4.0, -3.0, 0.4], 3)])
async def test_a_clock_is_moved_until_it_is_right(
    ahead: float, beside: list[float], attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(FakeClock(), [*beside], ahead)
    await machines_of(guest, monkeypatch).set_clock(NODE, guest.clock, timeout=5)
    assert abs(guest.ahead) <= 0.5
    assert guest.attempts == attempts


@pytest.mark.parametrize("ahead", [-0.4, 0.0, 0.4])
async def test_a_clock_that_is_right_is_left_alone(ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(FakeClock(), [0.0], ahead)
    await machines_of(guest, monkeypatch).set_clock(NODE, guest.clock, timeout=5)
    assert (guest.attempts, guest.ahead) == (0, ahead)


async def test_a_command_that_sets_the_clock_is_told_by_how_much_and_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Guest(FakeClock(), [1.5, 0.1])
    await machines_of(guest, monkeypatch).run(NODE, ["/bin/become"], clock=guest.clock, timeout=5)
    assert abs(guest.ahead) <= 0.5
    assert guest.attempts == 2


async def test_a_command_that_failed_has_set_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(FakeClock(), [9.0], exit_code=3)
    ended = await machines_of(guest, monkeypatch).run(NODE, ["/bin/become"], clock=guest.clock, timeout=5)
    assert (ended.exit_code, guest.attempts) == (3, 1), "whoever asked hears why"


async def test_a_clock_that_is_never_right_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(FakeClock(), [2.0])
    with pytest.raises(SshTimeout, match=r"wrong by 2\.0 s"):
        await machines_of(guest, monkeypatch).set_clock(NODE, guest.clock, timeout=5)


async def test_a_guest_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(FakeClock(), [0.1], exit_code=1)
    with pytest.raises(CommandFailed, match="cannot be set"):
        await machines_of(guest, monkeypatch).set_clock(NODE, guest.clock, timeout=5)


@pytest.mark.parametrize("time", ["x", "7", 10**400, -(10**400), True, 1.5, [], {}], ids=lambda time: str(time)[:9])
async def test_a_time_that_is_none_is_a_wrong_answer(time: object, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(FakeClock(), [0.1], time=time)
    with pytest.raises(CommandFailed, match="not a number of nanoseconds"):
        await machines_of(guest, monkeypatch).set_clock(NODE, guest.clock, timeout=5)
