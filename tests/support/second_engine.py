"""A second Docker engine with images of its own, in a network namespace of its own: only its image store is used.

Without that namespace it would share the machine's networks with the machine's own engine: one without a bridge removes
the other's. Its only way out leads to one server of this machine, through a Unix socket.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import EngineUnavailable

ALLOWED: Final = "198.51.100.1"
"""An address of the server that is no loopback. The engine may use it without TLS."""
FORBIDDEN: Final = "198.51.100.2"
"""Another one, for which the engine has no exception."""

_START_SECONDS: Final = 60
_END_SECONDS: Final = 30
_NAMESPACE: Final = f"""\
set -e
ip link set lo up
ip address add {ALLOWED}/32 dev lo
ip address add {FORBIDDEN}/32 dev lo
"$1" -c "$2" "$3" "$4" &
shift 4
exec "$@"
"""
"""Arguments: Python, _FORWARD, the port, the socket; then the engine. Its end takes the namespace along (unshare)."""
_FORWARD: Final = """\
import asyncio, sys

async def copy(reader, writer):
    try:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def serve(reader, writer):
    out, to = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(copy(reader, to), copy(out, writer))

async def main():
    await (await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]))).serve_forever()

asyncio.run(main())
"""


@asynccontextmanager
async def second_engine(server: Path, port: int) -> AsyncIterator[str]:
    """The URL of the engine, which ends with the block, and all of its images with it.

    `server`: the Unix socket of the server that the engine reaches at `port` of 127.0.0.1, ALLOWED and FORBIDDEN.
    """
    # A short path: that of a socket is limited.
    # Of hexadecimal digits: the names of containerd's namespaces must not end with an underscore.
    folder = Path(tempfile.gettempdir()) / f"dayfly-engine-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    (folder / "daemon.json").write_text("{}")  # not the machine's own
    url, log = f"unix://{folder}/docker.sock", folder / "log"
    # With the test, however that ends.
    argv: list[str | Path] = ["setpriv", "--pdeathsig", "KILL"]
    argv += ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += ["sh", "-c", _NAMESPACE, "sh", sys.executable, _FORWARD, str(port), server]
    argv += ["dockerd", "--host", url, "--data-root", folder / "data", "--exec-root", folder / "exec"]
    argv += ["--pidfile", folder / "pid", "--config-file", folder / "daemon.json"]
    argv += ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    # Beside the machine's own engine in the same containerd, if that is the machine's.
    argv += ["--containerd-namespace", folder.name, "--containerd-plugins-namespace", f"{folder.name}-plugins"]
    argv += [f"--insecure-registry={ALLOWED}:{port}"]
    with log.open("wb") as output:
        serving = subprocess.Popen(argv, stdout=output, stderr=output)  # noqa: ASYNC220 - one at the beginning
    try:
        await _await_answer(url, serving, log)
        yield url
    finally:
        # unshare ignores SIGTERM; its end is that of the engine, which keeps nothing.
        serving.kill()
        await asyncio.to_thread(serving.wait, _END_SECONDS)
        await asyncio.to_thread(shutil.rmtree, folder)


async def _await_answer(url: str, serving: subprocess.Popen[bytes], log: Path) -> None:
    images = DockerImages(url)
    try:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                assert serving.poll() is None, log.read_text()  # noqa: ASYNC240 - a few lines
                try:
                    await images.list(label="none")
                except EngineUnavailable:
                    await asyncio.sleep(0.2)
                else:
                    return
    finally:
        await images.close()
