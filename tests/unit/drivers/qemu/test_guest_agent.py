"""The guest agent's client against a fake agent: out of step, refusing, slow, closed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dayfly.clock import SystemClock
from dayfly.drivers.qemu.guest_agent import guest_agent
from dayfly.errors import MESSAGE_CHARACTERS, CommandFailed, SshTimeout
from dayfly.testing.fakes import FakeEngine

NODE = "dayfly-c1-node01"
_UNSOLICITED = b'{"error": {"class": "GenericError", "desc": "JSON parse error, stray"}}\n'


class Agent:
    """An agent, and the stream to it. `stale` lies in its channel when we come; `silent`: it answers no more."""

    def __init__(self, stale: bytes = b"") -> None:
        self.silent = False
        self.delay = 0.0
        self.asked: list[dict[str, Any]] = []
        self.pending = 0
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.left = False
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        if stale:
            self._out.put_nowait(stale)

    async def read(self) -> bytes:
        return await self._out.get()

    async def write(self, data: bytes) -> None:
        # The agent drops input before a delimiter, and reports the delimiter as invalid JSON.
        for _ in range(data.count(b"\xff")):
            self._out.put_nowait(_UNSOLICITED)
        for line in data.lstrip(b"\xff").splitlines():
            request = json.loads(line)
            self.asked.append(request)
            if not self.silent:
                self.pending += 1
                asyncio.get_running_loop().call_later(self.delay, self._answer, request)

    def end(self) -> None:
        self._out.put_nowait(b"")

    def _answer(self, request: dict[str, Any]) -> None:
        self.pending -= 1
        name = request["execute"]
        if name == "guest-sync-delimited":
            reply: dict[str, Any] = {"return": request["arguments"]["id"]}
        elif self.answers.get(name):
            reply = self.answers[name].pop(0)
        else:
            reply = {"error": {"class": "CommandNotFound", "desc": f"{name} is not known"}}
        text = json.dumps(reply).encode() + b"\n"
        # In two pieces, as a channel may deliver it.
        start = b"\xff" if name == "guest-sync-delimited" else b""
        self._out.put_nowait(start + text[:5])
        self._out.put_nowait(text[5:])


@pytest.fixture
def agent() -> Agent:
    return Agent()


def engine_of(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    @asynccontextmanager
    async def opened(name: str, argv: Sequence[str]) -> AsyncIterator[Agent]:
        assert name == NODE
        try:
            yield agent
        finally:
            agent.left = True

    engine = FakeEngine()
    monkeypatch.setattr(engine, "open", opened)
    return engine


@pytest.fixture
def engine(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return engine_of(agent, monkeypatch)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("stale", [b'{"return": 7}\n', b'{"retu', b'\xff{"return": 1}\n', b'\xff{"return": 1}\n{"e'])
async def test_what_was_left_by_others_is_not_taken_for_an_answer(
    stale: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(stale)
    agent.answers["guest-get-time"] = [{"return": 42}]
    async with guest_agent(engine_of(agent, monkeypatch), NODE, timeout=5) as talk:
        assert await talk.execute("guest-get-time") == 42


async def test_a_command_with_input_runs_to_its_end(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-exec"] = [{"return": {"pid": 9}}]
    agent.answers["guest-exec-status"] = [
        {"return": {"exited": False}},
        {"return": {"exited": True, "exitcode": 3, "out-data": b64("öut"), "err-data": b64("err")}},
    ]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        ended = await talk.run(["/bin/sh", "-c", "x"], b"\0in", SystemClock())
    assert (ended.exit_code, ended.stdout, ended.stderr) == (3, "öut", "err")
    asked = next(request for request in agent.asked if request["execute"] == "guest-exec")["arguments"]
    assert (asked["path"], asked["arg"]) == ("/bin/sh", ["-c", "x"])
    assert base64.b64decode(asked["input-data"]) == b"\0in"


async def test_a_command_that_a_signal_ended_is_told_as_by_a_shell(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-exec"] = [{"return": {"pid": 9}}]
    agent.answers["guest-exec-status"] = [{"return": {"exited": True, "signal": 9}}]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        assert (await talk.run(["/bin/sleep", "9"], b"", SystemClock())).exit_code == 137


async def test_a_file_is_read_by_the_agent_itself(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-file-open"] = [{"return": 1000}]
    agent.answers["guest-file-read"] = [{"return": {"count": 5, "buf-b64": b64("0.1 ö"), "eof": True}}]
    agent.answers["guest-file-close"] = [{"return": {}}]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        assert (await talk.read("/proc/loadavg")).decode() == "0.1 ö"
    assert [one["execute"] for one in agent.asked[1:]] == ["guest-file-open", "guest-file-read", "guest-file-close"]
    assert [one["arguments"]["handle"] for one in agent.asked[2:]] == [1000, 1000]


async def test_a_file_that_is_not_there(agent: Agent, engine: FakeEngine) -> None:
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed, match="guest-file-open"):
            await talk.read("/run/nothing")


async def test_a_file_that_cannot_be_read_is_closed(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-file-open"] = [{"return": 1000}]
    agent.answers["guest-file-close"] = [{"return": {}}]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed, match="guest-file-read"):
            await talk.read("/proc/self/mem")
    assert agent.asked[-1]["execute"] == "guest-file-close"


async def test_a_refusal_names_the_command_and_nothing_of_what_it_was_given(agent: Agent, engine: FakeEngine) -> None:
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed, match="guest-exec is not known") as caught:
            await talk.run(["/bin/cat", "argument"], b"secret", SystemClock())
    assert "secret" not in str(caught.value)
    assert "argument" not in str(caught.value)


async def test_a_refusal_is_cut(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-exec"] = [{"error": {"desc": "x" * 2**20}}, {"error": {"desc": [["x"]]}}]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed, match=r"x…$") as caught:
            await talk.run(["/bin/true"], b"", SystemClock())
        with pytest.raises(CommandFailed, match="no error description"):
            await talk.run(["/bin/true"], b"", SystemClock())
    assert len(caught.value.message) <= MESSAGE_CHARACTERS


@pytest.mark.parametrize("answer", [{"return": {}}, {"return": 7}, {"what": 1}])
async def test_an_answer_without_what_was_asked_for(agent: Agent, engine: FakeEngine, answer: dict[str, Any]) -> None:
    agent.answers["guest-exec"] = [answer]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed):
            await talk.run(["/bin/true"], b"", SystemClock())


async def test_an_answer_that_is_none(agent: Agent, engine: FakeEngine) -> None:
    async with guest_agent(engine, NODE, timeout=5) as talk:
        agent._out.put_nowait(b"Segmentation fault\n")
        with pytest.raises(CommandFailed, match="not JSON"):
            await talk.execute("guest-ping")


async def test_an_answer_without_end_is_given_up(
    agent: Agent, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dayfly.drivers.qemu.guest_agent.ANSWER_BYTES", 1000)
    async with guest_agent(engine, NODE, timeout=5) as talk:
        for _ in range(100):
            agent._out.put_nowait(b"x" * 100)
        with pytest.raises(CommandFailed, match="longer than 1000 bytes"):
            await talk.execute("guest-ping")
    assert agent._out.qsize() > 80, "the rest was not read"


@pytest.mark.parametrize(
    "status",
    [
        {"exited": True, "exitcode": "many"},
        {"exited": True, "exitcode": None},
        {"exited": True, "exitcode": True},
        {"exited": True, "exitcode": 10**400},
        {"exited": True, "signal": [9]},
        {"exited": True},
        {"exited": True, "exitcode": 0, "out-data": "not base64"},
        {"exited": True, "exitcode": 0, "out-data": 1234},
    ],
)
async def test_a_status_of_another_form_is_refused(agent: Agent, engine: FakeEngine, status: dict[str, Any]) -> None:
    agent.answers["guest-exec"] = [{"return": {"pid": 9}}]
    agent.answers["guest-exec-status"] = [{"return": status}]
    async with guest_agent(engine, NODE, timeout=5) as talk:
        with pytest.raises(CommandFailed):
            await talk.run(["/bin/true"], b"", SystemClock())


async def test_a_deeply_nested_answer_is_refused(agent: Agent, engine: FakeEngine) -> None:
    async with guest_agent(engine, NODE, timeout=5) as talk:
        agent._out.put_nowait(b"[" * 100_000 + b"\n")
        with pytest.raises(CommandFailed, match="not JSON"):
            await talk.execute("guest-ping")


async def test_an_agent_that_does_not_answer_is_a_time_out(agent: Agent, engine: FakeEngine) -> None:
    agent.silent = True
    with pytest.raises(SshTimeout, match=r"did not answer within 0.05 s"):
        async with guest_agent(engine, NODE, timeout=0.05):
            pytest.fail("nobody is there")
    assert agent.left


async def test_a_channel_that_nobody_serves(agent: Agent, engine: FakeEngine) -> None:
    agent.silent = True
    agent.end()
    with pytest.raises(SshTimeout, match="was closed"):
        async with guest_agent(engine, NODE, timeout=5):
            pytest.fail("nobody is there")


async def test_whoever_is_cancelled_still_fetches_the_reply(agent: Agent, engine: FakeEngine) -> None:
    agent.answers["guest-get-time"] = [{"return": 42}]

    async def ask() -> None:
        async with guest_agent(engine, NODE, timeout=5) as talk:
            agent.delay = 0.1
            await talk.execute("guest-get-time")

    asking = asyncio.create_task(ask())
    while not agent.asked or agent.asked[-1]["execute"] != "guest-get-time":  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert agent.pending == 0
    assert agent._out.empty()


async def test_a_guest_that_freezes_while_it_reads_keeps_nobody(
    agent: Agent, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dayfly.drivers.qemu.guest_agent._LAST_WAIT_SECONDS", 0.05)
    agent.answers["guest-file-open"] = [{"return": 1000}]
    write = agent.write

    async def freezes(data: bytes) -> None:
        agent.silent = agent.silent or b"guest-file-read" in data
        await write(data)

    monkeypatch.setattr(agent, "write", freezes)
    async with asyncio.timeout(10):
        with pytest.raises(SshTimeout):
            async with guest_agent(engine, NODE, timeout=0.3) as talk:
                await talk.read("/proc/loadavg")
    assert agent.asked[-1]["execute"] == "guest-file-close"
