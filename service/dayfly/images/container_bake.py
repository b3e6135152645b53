"""A bake in a container of the engine: for users who are not root, and hosts that are not a Debian.

The container runs the same bake as a host (cli/bake_in_container.py), with the engine's socket and a volume as its
cache, and prints JSON lines, which this module turns back into progress and errors. It ends with its input, and so with
the caller. Not here: the container's image (baker.py).
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import dayfly
from dayfly import assets, errors
from dayfly.clock import Clock
from dayfly.domain.scheduling.resources import Resources
from dayfly.drivers.interfaces import File, ImageStore, OutputLine, ToolContainer, ToolRunner
from dayfly.errors import BakeFailed, DayflyError, Internal
from dayfly.images.baker import CA_BUNDLE, PYTHON, access_files, ensure_baker
from dayfly.images.host_access import HostAccess, look_at_host
from dayfly.images.process import EVIDENCE_LINES, failure
from dayfly.images.progress import Progress, Report, Reporter

CACHE_VOLUME: Final = "dayfly-bake-cache"
"""Shared by all bakes in containers on an engine. May be deleted at any time, as any cache."""
CAPABILITIES: Final[Mapping[str, str]] = {
    "SYS_ADMIN": "mount /proc, /sys and /dev in root file systems, in namespaces of their own (unshare)",
    "SYS_CHROOT": "install and run packages in root file systems",
    "MKNOD": "make a root file system's /dev/null and its like",
    "CHOWN": "give files the owners that they have on a node",
    "DAC_OVERRIDE": "read and write files of all owners",
    "FOWNER": "set modes and times of files of all owners",
    "FSETID": "keep setuid and setgid bits",
    "SETUID": "apt downloads, and packages set up their services, as users of their own",
    "SETGID": "the same for groups",
    "SETFCAP": "keep programs' capabilities, such as ping's",
    "NET_ADMIN": "bring up the loopback of the empty network that offline steps run in",
}
"""The container's capabilities, each with its reason. Without any of them, a bake fails or gives another image."""

_HOME: Final = "/opt/dayfly"
_DATA: Final = "/var/cache/dayfly"
_SOCKET: Final = "/run/dayfly/engine.sock"
_CLEAN_UP_SECONDS: Final = 120.0


async def bake_in_container(
    recipe_name: str,
    *,
    base: str,
    images: ImageStore,
    tools: ToolRunner,
    report: Report,
    clock: Clock,
    settings: Mapping[str, str],
    folders: tuple[Path, ...] = (),
) -> str:
    """As images.bake.bake, but on the Debian image `base`; the image's content id.

    `settings` are DAYFLY_* variables for the bake, `folders` the files and folders that they name. Raises the errors of
    a bake on the host, with the same codes, messages and evidence, and BakeFailed for an engine that cannot run the
    container.
    """
    access = await asyncio.to_thread(look_at_host)
    async with Reporter(report, clock).phase("baker") as on_line:
        baker = await ensure_baker(base, access, images=images, tools=tools, on_line=on_line)
    async with tools.run(bake_tool(recipe_name, baker, access, settings, folders)) as run:
        return await follow(run, report)


def bake_tool(
    recipe_name: str,
    baker: str,
    access: HostAccess,
    settings: Mapping[str, str],
    folders: tuple[Path, ...] = (),
) -> ToolContainer:
    """The container of a bake."""
    environment = {
        **access.proxies,
        **settings,
        "DAYFLY_DOCKER_HOST": f"unix://{_SOCKET}",
        "DAYFLY_CACHE_DIR": f"{_DATA}/bake",
        "DAYFLY_STATE_DIR": f"{_DATA}/state",
        "PATH": f"{Path(PYTHON).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{_HOME}/service",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    if access.ca_bundle is not None:
        environment["SSL_CERT_FILE"] = CA_BUNDLE
    return ToolContainer(
        image=baker,
        command=(PYTHON, "-m", "dayfly.cli.bake_in_container", recipe_name),
        capabilities=tuple(CAPABILITIES),
        files=(*access_files(access), *own_files()),
        environment=environment,
        volumes={CACHE_VOLUME: _DATA},
        folders=folders,
        engine_socket=_SOCKET,
        mounts_file_systems=True,
        grace_seconds=_CLEAN_UP_SECONDS,
    )


def own_files() -> tuple[File, ...]:
    """This installation's package and provisioning/, laid out as in a checkout (assets.py finds them)."""
    package = Path(dayfly.__file__).parent
    return (
        *_files(package, f"{_HOME}/service/dayfly", skip=package / "_assets"),
        *_files(assets.provisioning(), f"{_HOME}/provisioning"),
    )


def progress_line(progress: Progress) -> str:
    """A line of output for `follow`."""
    return json.dumps({"kind": "progress", **vars(progress)})


def result_line(image_id: str) -> str:
    return json.dumps({"kind": "result", "image_id": image_id})


def error_line(error: DayflyError) -> str:
    return json.dumps(
        {
            "kind": "error",
            "code": error.code,
            "message": error.message,
            "detail": error.operator_detail,
            "evidence": error.evidence,
        }
    )


class Output(Protocol):
    """A program that bakes, in a container or beside this process (bake_process.py)."""

    def lines(self) -> AsyncIterator[OutputLine]:
        """Its output, until it ends."""

    async def exit_code(self) -> int | None:
        """Wait for its end; None: the code is not known."""


def room_line(needs: Resources) -> str:
    """Asks for room for the verification; the program waits until its caller answers (bake_process.py)."""
    return json.dumps({"kind": "room", "needs": vars(needs)})


async def follow(
    run: Output,
    report: Report,
    name: str = "the bake in the container",
    room: Callable[[Resources], Awaitable[None]] | None = None,
) -> str:
    """Pass on the progress of the bake `name`; its image's content id, or its error. `room` answers a room_line."""
    tail: deque[str] = deque(maxlen=EVIDENCE_LINES)
    async for line in run.lines():
        event = _event(line.text) if line.stream == "stdout" else None
        match event:
            case {"kind": "progress", "phase": phase, "state": state, "seconds": seconds, "message": message, **more}:
                report(Progress(phase, state, seconds, message, str(more.get("detail", ""))))
            case {"kind": "room", "needs": needs} if room is not None:
                await room(Resources(**needs))
            case {"kind": "result", "image_id": image_id}:
                return str(image_id)
            case {"kind": "error", "code": code, "message": message, "detail": detail, "evidence": evidence}:
                raise _class_of(str(code))(message, evidence=evidence, operator_detail=detail)
            case _:
                tail.append(line.text)
    raise failure(name, await run.exit_code(), tail)


def _event(text: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _class_of(code: str) -> type[DayflyError]:
    """The error with `code`; BakeFailed for an unknown code."""
    if code == Internal.code:
        return Internal
    known = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DayflyError))
    return next((kind for kind in known if kind.code == code), BakeFailed)


def _files(folder: Path, target: str, *, skip: Path | None = None) -> Iterator[File]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and (skip is None or not path.is_relative_to(skip)):
            mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
            yield File(f"{target}/{path.relative_to(folder)}", path.read_bytes(), mode)
