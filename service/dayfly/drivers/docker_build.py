"""Makes images: from a root file system, or from a Dockerfile. Whatever fails, nothing half-made stays on the engine.

aiodocker knows neither `docker import` nor streamed contexts, so these two calls are made on its session directly.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiohttp import ClientError, ClientResponse, ClientTimeout

from dayfly.clock import Clock
from dayfly.domain.naming import split_tag
from dayfly.drivers.docker_errors import engine_errors, is_status, refusal
from dayfly.errors import BakeFailed, DayflyError, DiskFull

_SILENCE_SECONDS: Final = 1800.0
"""A build that says nothing for so long is over; copying a node disk of some GiB is silent for minutes."""
_LOOK_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 1 << 20
_EVIDENCE_LINES: Final = 60
_UNUSED_TRIES: Final = 100
_UNUSED_POLL_SECONDS: Final = 0.2
_STEP_IMAGE: Final = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)
"""How the engine's builder announces the image that a step has made or found."""


async def import_rootfs(docker: Docker, tar: Path, reference: str, changes: Sequence[str]) -> str:
    """An image of one layer, called `reference`; its content id."""
    repository, tag = split_tag(reference)
    params = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", line) for line in changes)]
    with engine_errors(f"importing {reference}"):
        replaced = await _id_of(docker, reference)
        output = await _post(docker, "images/create", params, await _file(tar), f"importing {reference}")
        made = str(output[-1]["status"])
        await _drop_replaced(docker, replaced, made)
    return made


async def build(docker: Docker, context: Path, reference: str, labels: Mapping[str, str], clock: Clock) -> str:
    """The result of the Dockerfile in `context`, a folder or a tar file, called `reference`; its content id."""
    params = [
        ("t", reference),
        ("rm", "1"),
        ("forcerm", "1"),
        ("labels", json.dumps(dict(labels))),
    ]
    with engine_errors(f"building {reference}"):
        replaced = await _id_of(docker, reference)
        known = await _image_ids(docker)
        output: list[Mapping[str, Any]] = []
        body = _folder(context) if await asyncio.to_thread(context.is_dir) else await _file(context)
        try:
            await _post(docker, "build", params, body, f"building {reference}", output)
        except BaseException:
            await _drop_steps(docker, output, known, clock)
            raise
        made = await _id_of(docker, reference)
        if made is None:
            raise BakeFailed(f"building {reference}: the engine made no image", evidence=_evidence(output))
        await _drop_replaced(docker, replaced, made)
    return made


async def _post(
    docker: Docker,
    path: str,
    params: Sequence[tuple[str, str]],
    body: AsyncIterator[bytes],
    doing: str,
    output: list[Mapping[str, Any]] | None = None,
) -> list[Mapping[str, Any]]:
    """Send `body`, and collect the lines of the answer into `output` as they come."""
    output = [] if output is None else output
    try:
        async with docker.session.post(
            f"{docker.docker_host}/{docker.api_version}/{path}",
            params=params,
            data=body,
            headers={"Content-Type": "application/x-tar"},
            timeout=ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        ) as response:
            if response.status >= 400:
                raise _failure(json.loads(await response.text())["message"], doing, output)
            async for line in _lines(response):
                output.append(line)
                if "error" in line:
                    raise _failure(str(line["error"]), doing, output)
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


def _failure(message: str, doing: str, output: Sequence[Mapping[str, Any]]) -> DayflyError:
    error = refusal(message, doing)
    return error if isinstance(error, DiskFull) else BakeFailed(error.message, evidence=_evidence(output))


def _evidence(output: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    lines = "".join(str(line.get("stream", "")) for line in output).splitlines()
    return {"build": "\n".join(lines[-_EVIDENCE_LINES:])}


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
    """`path` as a tar, made while it is sent: contexts hold node disks of some GiB."""
    tar = await asyncio.create_subprocess_exec(
        *("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--file=-"),
        *(f"--directory={path}", "."),
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


async def _image_ids(docker: Docker) -> frozenset[str]:
    async with asyncio.timeout(_LOOK_SECONDS):
        return frozenset(str(image["Id"]) for image in await docker.images.list(all=True))


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


async def _drop_steps(docker: Docker, output: Sequence[Mapping[str, Any]], known: frozenset[str], clock: Clock) -> None:
    """Delete what the steps of a failed build have made: the newest first, as the older are its parents."""
    said = "".join(str(line.get("stream", "")) for line in output)
    earlier = {image.removeprefix("sha256:")[:12] for image in known}
    for image in reversed(_STEP_IMAGE.findall(said)):
        if image not in earlier:
            await _delete_when_unused(docker, image, clock)


async def _delete_when_unused(docker: Docker, image: str, clock: Clock) -> None:
    """A build that is given up goes on holding its image until the engine has removed the step's container."""
    for _ in range(_UNUSED_TRIES):
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await docker.images.delete(image, noprune=True)
        except DockerError as error:
            if is_status(error, 404):
                return
            if not is_status(error, 409):
                raise
            await clock.sleep(_UNUSED_POLL_SECONDS)
        else:
            return
