"""The trials before any cluster: the host's checks, the node image and the accelerator, the service."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections import deque
from typing import Final

from dayfly.client import Unreachable
from dayfly.doctor.examine import examine
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import NodeImage, Session, images_of_bake
from dayfly.doctor.subject import open_subject
from dayfly.domain.cluster.naming import LABEL_IMAGE, image_reference
from dayfly.domain.cluster.timeouts import limits_for
from dayfly.errors import ImageMissing
from dayfly.images.container import TAG_LENGTH
from dayfly.images.node_images import resolve_image
from dayfly.images.recipe import recipe_names

_POLL_SECONDS: Final = 0.2
_LINES_KEPT: Final = 200
_ERROR_LINE: Final = re.compile(r"^error \[(\w+)\]: (.*)$")


async def check_host(session: Session) -> str:
    """No check of `dayfly doctor` fails."""
    async with open_subject(session.operator) as subject:
        session.checks = await examine(subject)
    failed = [f"{check.name}: {check.found}" for check in session.checks if check.status == "fail"]
    if failed:
        raise TrialFailed("host_check_failed", "; ".join(failed))
    session.engine = await session.infrastructure.engine.info()
    warnings = [check.name for check in session.checks if check.status == "warn"]
    return f"{len(session.checks)} checks" + (f", warnings: {', '.join(warnings)}" if warnings else ", no warning")


async def find_image(session: Session) -> str:
    """The node image exists or is baked; its kernel shows the accelerator of machines."""
    reference = image_reference(session.wanted_image)
    images = session.infrastructure.images
    try:
        image_id, manifest = await resolve_image(images, reference)
        how = "was on the engine"
    except ImageMissing:
        if session.wanted_image not in recipe_names():
            raise
        await _bake(session)
        image_id, manifest = await resolve_image(images, reference)
        how = "was baked"
    info = await images.inspect(image_id)
    text = info.labels[LABEL_IMAGE]
    # By the digest's tag: a bake may move the other tag during the trials.
    own = next((name for name in info.references if name.endswith(f":{manifest.digest[:TAG_LENGTH]}")), reference)
    session.image = NodeImage(own, info, manifest, text, await images_of_bake(images, text))
    session.show_progress("booting a kernel on KVM")
    session.accelerator = await session.infrastructure.accelerators.probe(image_id)
    session.limits = limits_for(session.accelerator.accelerator, session.settings.boot_limit_seconds)
    size = session.image.info.size_bytes / 1e6
    runs_on = f"{session.accelerator.accelerator} ({session.accelerator.reason})"
    return f"{reference} {how}, {size:.0f} MB; machines run on {runs_on}"


async def start_service(session: Session) -> str:
    """API and worker start in a new process, and the API answers."""
    await session.service.start()
    while True:
        session.show_progress(f"the API at {session.service.url}")
        try:
            version = await session.api.version()
        except Unreachable:
            await session.clock.sleep(_POLL_SECONDS)
        else:
            return f"Dayfly {version.version} answers at {session.service.url}, instance {session.settings.instance}"


async def _bake(session: Session) -> None:
    """Run `dayfly image bake`. A cancellation ends it with SIGTERM and waits for its clean-up."""
    command = ("-m", "dayfly.cli.main", "image", "bake", session.wanted_image)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    lines: deque[str] = deque(maxlen=_LINES_KEPT)
    try:
        async for line in process.stdout:
            lines.append(line.decode(errors="replace").rstrip())
            session.show_progress(f"bake: {lines[-1]}")
        code = await process.wait()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGTERM)
        async for _ in process.stdout:
            pass
        await process.wait()
        raise
    if code != 0:
        error = next((found for line in reversed(lines) if (found := _ERROR_LINE.match(line))), None)
        reason = (error[1], error[2]) if error else ("bake_failed", lines[-1] if lines else "it printed nothing")
        raise TrialFailed(
            reason[0], f"the bake ended with exit code {code}: {reason[1]}", evidence={"bake": "\n".join(lines)}
        )
