"""Builds images from a root file system, or from another image and files. A failed build leaves nothing.

aiodocker knows neither `docker import` nor streamed archives, so these two calls are made on its session directly.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiohttp import ClientError, ClientResponse, ClientTimeout

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.naming import split_tag
from dayfly.drivers.docker.container_config import never_run_config
from dayfly.drivers.docker.errors import engine_errors, is_status, refusal
from dayfly.drivers.docker.objects import delete, unless
from dayfly.errors import BakeFailed, DayflyError, DiskFull

_SILENCE_SECONDS: Final = 1800.0
"""A transfer or a commit that says nothing for so long is over; node disks of some GiB are silent for minutes."""
_LOOK_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 1 << 20


async def import_rootfs(docker: Docker, tar: Path, reference: str, changes: Sequence[str]) -> str:
    """An image of one layer, called `reference`; its content id."""
    repository, tag = split_tag(reference)
    params = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", line) for line in changes)]
    doing = f"importing {reference}"
    with engine_errors(doing):
        replaced = await _id_of(docker, reference)
        try:
            output = await _send(docker, "POST", "images/create", params, await _file(tar), doing)
        except (BakeFailed, DiskFull):
            # containerd's image store has named what it could not unpack.
            await _drop_unfinished(docker, reference, replaced)
            raise
        made = _content_id(str(output[-1]["status"]))
        await _drop_replaced(docker, replaced, made)
    return made


async def add_files(docker: Docker, base: str, folder: Path, reference: str, labels: Mapping[str, str]) -> str:
    """An image of `base` and, at its root, what is in `folder`; called `reference`; its content id.

    Made from a container that never runs, and not by the engine's builder: that one completes its step when its caller
    has gone, and so leaves an image, some time later, that nobody looks for any more.
    """
    doing = f"making {reference}"
    # By its name the next attempt finds what is left of one that was killed.
    container = docker.containers.container(f"dayfly-making-{re.sub('[^a-z0-9]+', '-', reference)}")
    with engine_errors(doing):
        replaced = await _id_of(docker, reference)
        await _delete(container)
        try:
            await _create(docker, base, container)
            await _send(docker, "PUT", f"containers/{container.id}/archive", [("path", "/")], _folder(folder), doing)
            made = await _commit(container, reference, labels)
        finally:
            await _delete(container)
        await _drop_replaced(docker, replaced, made)
    return made


async def build(
    docker: Docker,
    context: Path,
    reference: str,
    *,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """An image made by the engine's own builder of the folder `context` with its Dockerfile, called `reference`."""
    doing = f"building {reference}"

    def tell(line: Mapping[str, Any]) -> None:
        if on_line is not None and (said := str(line.get("stream", "")).strip()):
            on_line(said)

    params = [
        *(("t", reference), ("version", "1"), ("rm", "1"), ("forcerm", "1")),
        *(("buildargs", json.dumps(dict(arguments))), ("labels", json.dumps(dict(labels)))),
    ]
    with engine_errors(doing):
        await _send(docker, "POST", "build", params, _folder(context), doing, tell)


@uncancellable
async def _create(docker: Docker, base: str, container: DockerContainer) -> None:
    async with asyncio.timeout(_LOOK_SECONDS):
        await docker.containers.create(never_run_config(base), name=container.id)


@uncancellable
async def _commit(container: DockerContainer, reference: str, labels: Mapping[str, str]) -> str:
    repository, tag = split_tag(reference)
    async with asyncio.timeout(_SILENCE_SECONDS):
        # What is not said here, it takes from the container, which has it from `base`.
        made = await container.commit(repository=repository, tag=tag, config={"Labels": dict(labels)}, pause=False)
    return _content_id(str(made["Id"]))


def _content_id(told: str) -> str:
    """As Docker tells it; Podman leaves out what the digest is made with."""
    return told if ":" in told else f"sha256:{told}"


async def _delete(container: DockerContainer) -> None:
    async with asyncio.timeout(_LOOK_SECONDS):
        await delete(container)


async def _send(
    docker: Docker,
    method: str,
    path: str,
    params: Sequence[tuple[str, str]],
    body: AsyncIterator[bytes],
    doing: str,
    on_line: Callable[[Mapping[str, Any]], None] | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Send `body`, a tar; the lines of the answer."""
    output: list[Mapping[str, Any]] = []
    try:
        async with docker.session.request(
            method,
            f"{docker.docker_host}/{docker.api_version}/{path}",
            params=params,
            data=body,
            headers={"Content-Type": "application/x-tar"},
            timeout=ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        ) as response:
            if response.status >= 400:
                raise _failure(json.loads(await response.text())["message"], doing)
            async for line in _lines(response):
                output.append(line)
                if on_line is not None:
                    on_line(line)
                if "error" in line:
                    raise _failure(str(line["error"]), doing)
    except ClientError as error:
        # A body that cannot be read looks, to aiohttp, as a connection that cannot be written.
        if isinstance(error.__cause__, BakeFailed):
            raise error.__cause__ from error
        raise
    return output


async def _lines(response: ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    async for line in response.content:
        if line.strip():
            yield json.loads(line)


def _failure(message: str, doing: str) -> DayflyError:
    error = refusal(message, doing)
    return error if isinstance(error, DiskFull) else BakeFailed(error.message)


async def _file(path: Path) -> AsyncIterator[bytes]:
    """Opened before anything is sent: a file that is not there is no fault of the engine's."""
    try:
        handle = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise BakeFailed(f"{path} cannot be read: {error.strerror}") from error
    return _chunks(handle)


async def _chunks(handle: BinaryIO) -> AsyncIterator[bytes]:
    with handle:
        while chunk := await asyncio.to_thread(handle.read, _CHUNK_BYTES):
            yield chunk


async def _folder(path: Path) -> AsyncIterator[bytes]:
    """What is in `path` as a tar, made while it is sent: node disks have some GiB.

    The folder itself is not: its mode would become that of where it is unpacked.
    """
    names = sorted(await asyncio.to_thread(os.listdir, path))
    tar = await asyncio.create_subprocess_exec(
        *("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--file=-"),
        *(f"--directory={path}", "--", *names),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tar.stdout is not None  # noqa: S101 (for the type checker: we asked for a pipe)
    assert tar.stderr is not None  # noqa: S101
    try:
        while chunk := await tar.stdout.read(_CHUNK_BYTES):
            yield chunk
        stderr = (await tar.stderr.read()).decode(errors="replace")
        if await tar.wait() != 0:
            raise BakeFailed(f"packing {path} failed", evidence={"stderr": stderr})
    finally:
        if tar.returncode is None:
            with suppress(ProcessLookupError):
                tar.kill()
            await tar.wait()


async def _id_of(docker: Docker, reference: str) -> str | None:
    async with asyncio.timeout(_LOOK_SECONDS):
        try:
            return str((await docker.images.inspect(reference))["Id"])
        except DockerError as error:
            if is_status(error, 404):
                return None
            raise


async def _drop_unfinished(docker: Docker, reference: str, replaced: str | None) -> None:
    """Delete what `reference` names now, unless that is what it named before."""
    if (unfinished := await _id_of(docker, reference)) is not None and unfinished != replaced:
        async with asyncio.timeout(_LOOK_SECONDS):
            await unless(docker.images.delete(reference), 404)


async def _drop_replaced(docker: Docker, replaced: str | None, made: str) -> None:
    """Delete what `reference` named before, unless a tag or a container still holds it."""
    if replaced is None or replaced == made:
        return
    async with asyncio.timeout(_LOOK_SECONDS):
        try:
            if not (await docker.images.inspect(replaced))["RepoTags"]:
                await docker.images.delete(replaced)
        except DockerError as error:
            if not is_status(error, 404, 409):
                raise
