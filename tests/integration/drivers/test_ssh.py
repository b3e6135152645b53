"""SshConnections against a real SSH server (asyncssh's own, on loopback)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from dayfly.drivers.interfaces import File
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import CommandFailed, SshRefused, SshTimeout
from tests.support.ssh_server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def ssh() -> AsyncIterator[SshConnections]:
    made = SshConnections()
    yield made
    await made.close()


async def test_runs_a_command_and_tells_all_of_its_end(server: Server, ssh: SshConnections) -> None:
    ended = await ssh.run(server.target, "echo out; echo err >&2; exit 7", timeout=10)

    assert (ended.exit_code, ended.stdout, ended.stderr) == (7, "out\n", "err\n")


async def test_undecodable_output_does_not_hurt(server: Server, ssh: SshConnections) -> None:
    ended = await ssh.run(server.target, r"printf 'a\377b'", timeout=10)

    assert ended.stdout == "a�b"


async def test_stdin_reaches_the_command_whole(server: Server, ssh: SshConnections) -> None:
    ended = await ssh.run(server.target, "wc -c", stdin=b"x" * 3_000_000, timeout=30)

    assert ended.stdout.strip() == "3000000"


async def test_a_command_that_leaves_its_stdin_unread_ends_well(server: Server, ssh: SshConnections) -> None:
    ended = await ssh.run(server.target, "exit 4", stdin=b"x" * 3_000_000, timeout=30)

    assert ended.exit_code == 4


async def test_lines_are_seen_while_the_command_runs(server: Server, ssh: SshConnections, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        gate.touch()

    # The second line comes only after the first was seen here.
    command = f"echo first; while [ ! -e {gate} ]; do sleep 0.02; done; echo second >&2"
    await ssh.run(server.target, command, timeout=10, on_line=on_line)

    assert seen == ["first", "second"]


async def test_a_command_that_floods_is_ended(server: Server, ssh: SshConnections) -> None:
    with pytest.raises(CommandFailed, match="printed more than 1 MiB"):
        await ssh.run(server.target, "yes", timeout=30)

    async with asyncio.timeout(5):
        await server.ended.wait()
    assert not server.running
    assert (await ssh.run(server.target, "echo on", timeout=10)).stdout == "on\n"


async def test_a_line_without_end_is_shown_in_part(server: Server, ssh: SshConnections) -> None:
    seen: list[str] = []
    await ssh.run(
        server.target, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next", timeout=10, on_line=seen.append
    )

    assert seen == ["x" * 4096, "next"]


async def test_one_login_serves_everybody(server: Server, ssh: SshConnections) -> None:
    await asyncio.gather(*(ssh.run(server.target, "true", timeout=10) for _ in range(8)))

    assert server.logins == 1


async def test_a_broken_connection_is_made_again(server: Server, ssh: SshConnections) -> None:
    await ssh.run(server.target, "true", timeout=10)
    server.cut()

    ended = await ssh.run(server.target, "echo back", timeout=10)

    assert ended.stdout == "back\n"
    assert server.logins == 2


async def test_a_connection_that_breaks_while_a_command_runs_does_not_run_it_twice(
    server: Server, ssh: SshConnections, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"

    with pytest.raises(SshTimeout, match="broke"):
        await ssh.run(
            server.target,
            f"echo x >> {runs}; echo up; sleep 60",
            timeout=10,
            on_line=lambda _: server.cut(),
        )

    assert runs.read_text() == "x\n"


async def test_a_command_that_overruns_is_ended(server: Server, ssh: SshConnections) -> None:
    with pytest.raises(SshTimeout):
        await ssh.run(server.target, "sleep 60", timeout=0.5)

    async with asyncio.timeout(5):
        await server.ended.wait()
    assert not server.running


async def test_another_host_key_is_refused(server: Server, ssh: SshConnections) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()

    with pytest.raises(SshRefused):
        await ssh.wait(replace(server.target, host_public_key=other), timeout=10)

    assert server.logins == 0


async def test_another_user_key_is_refused(server: Server, ssh: SshConnections) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()

    with pytest.raises(SshRefused):
        await ssh.wait(replace(server.target, private_key=other), timeout=10)


async def test_a_key_that_is_none_is_refused_without_being_shown(server: Server, ssh: SshConnections) -> None:
    with pytest.raises(SshRefused) as refused:
        await ssh.wait(replace(server.target, private_key="not-a-key"), timeout=10)

    assert "not-a-key" not in str(refused.value)


async def test_waits_for_a_port_that_nobody_serves_yet(server: Server, ssh: SshConnections) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    late = Server(server.root)
    late.host_key, late.user_key = server.host_key, server.user_key
    waiting = asyncio.create_task(ssh.wait(replace(server.target, port=port), timeout=20))
    await asyncio.sleep(0.3)

    await late.start(port)
    await waiting

    assert late.logins == 1
    await ssh.close()
    await late.stop()


async def test_a_proxy_that_hangs_up_before_the_banner_is_asked_again_and_not_too_often(
    server: Server, ssh: SshConnections
) -> None:
    proxy = Proxy(server.port, hang_ups=3)
    port = await proxy.start()

    await ssh.wait(replace(server.target, port=port), timeout=20)

    assert proxy.accepted == 4
    assert min(proxy.gaps) >= 0.15
    await ssh.close()
    await proxy.stop()


async def test_a_banner_that_comes_late_is_awaited_on_one_connection(server: Server, ssh: SshConnections) -> None:
    proxy = Proxy(server.port, delay_seconds=1.5)
    port = await proxy.start()

    await ssh.wait(replace(server.target, port=port), timeout=20)

    assert proxy.accepted == 1
    await ssh.close()
    await proxy.stop()


async def test_a_connection_that_is_lost_on_the_way_is_given_up_for_another(server: Server) -> None:
    proxy = Proxy(server.port, lost=1)
    port = await proxy.start()
    ssh = SshConnections(attempt_seconds=1)

    await ssh.wait(replace(server.target, port=port), timeout=20)

    assert proxy.accepted == 2
    await ssh.close()
    await proxy.stop()


async def test_a_node_that_never_answers_ends_in_a_time_out(ssh: SshConnections, server: Server) -> None:
    proxy = Proxy(server.port, delay_seconds=3600)
    port = await proxy.start()

    with pytest.raises(SshTimeout, match=str(port)):
        await ssh.wait(replace(server.target, port=port), timeout=0.5)

    assert proxy.accepted == 1
    await proxy.stop()


async def test_a_kept_connection_is_no_proof_of_life(server: Server, ssh: SshConnections) -> None:
    proxy = Proxy(server.port)
    target = replace(server.target, port=await proxy.start())
    await ssh.wait(target, timeout=10)
    proxy.freeze()

    with pytest.raises(SshTimeout):
        await ssh.wait(target, timeout=0.5)

    await ssh.close()
    await proxy.stop()


async def test_put_writes_files_with_their_modes_and_folders(
    server: Server, ssh: SshConnections, tmp_path: Path
) -> None:
    long = "x" * 120
    files = [
        File("/etc/dayfly/cluster.env", b"A=1\n"),
        File("/usr/bin/tool", b"\x00\xff" * 50_000, mode=0o755),
        File(f"/deep/{long}/file", b""),
    ]

    await ssh.put(server.target, files, timeout=20)
    await ssh.put(server.target, [File("/etc/dayfly/cluster.env", b"A=2\n")], timeout=20)

    assert (tmp_path / "etc/dayfly/cluster.env").read_bytes() == b"A=2\n"
    assert (tmp_path / "etc/dayfly/cluster.env").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "etc/dayfly").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "usr/bin/tool").read_bytes() == b"\x00\xff" * 50_000
    assert (tmp_path / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / f"deep/{long}/file").read_bytes() == b""


async def test_put_onto_what_cannot_be_written_says_why(server: Server, ssh: SshConnections, tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file where a folder should be")

    with pytest.raises(CommandFailed) as failed:
        await ssh.put(server.target, [File("/etc/secret", b"hidden")], timeout=20)

    assert "etc" in failed.value.evidence["stderr"]
    assert "hidden" not in str(failed.value.evidence)


async def test_forget_closes_the_connection(server: Server, ssh: SshConnections) -> None:
    await ssh.run(server.target, "true", timeout=10)

    await ssh.forget(server.target)
    await ssh.forget(server.target)

    async with asyncio.timeout(5):
        await server.connections[0].wait_closed()


async def test_who_is_forgotten_while_it_logs_in_does_not_stay(server: Server, ssh: SshConnections) -> None:
    proxy = Proxy(server.port, delay_seconds=0.3)
    target = replace(server.target, port=await proxy.start())
    running = asyncio.create_task(ssh.run(target, "true", timeout=20))
    async with asyncio.timeout(10):
        await proxy.met.wait()
        await ssh.forget(target)
        assert (await running).exit_code == 0
        await ssh.forget(target)
        for connection in server.connections:
            await connection.wait_closed()
    assert len(server.connections) == 2
    await proxy.stop()


class Proxy:
    """As docker-proxy: it accepts connections without a listener behind it."""

    def __init__(self, to_port: int, *, hang_ups: int = 0, lost: int = 0, delay_seconds: float = 0) -> None:
        self.to_port = to_port
        self.hang_ups = hang_ups
        self.lost = lost
        self.delay_seconds = delay_seconds
        self.times: list[float] = []
        self.met = asyncio.Event()
        self._frozen = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def accepted(self) -> int:
        return len(self.times)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def freeze(self) -> None:
        self._frozen = True

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.times.append(asyncio.get_running_loop().time())
        self.met.set()
        try:
            if self.accepted <= self.hang_ups:
                return
            await asyncio.sleep(3600 if self.accepted <= self.lost else self.delay_seconds)
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
            try:
                await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
            finally:
                back.close()
        except (asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self._frozen:
                writer.write(data)
                await writer.drain()
        writer.close()
