"""Queries the engine, the database and the accelerator, and collects all checks. Changes nothing on the host.

Not here: the output of a report (cli/doctor.py), and the drivers (subject.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from dayfly.doctor import checks
from dayfly.doctor.checks import Check, Host
from dayfly.doctor.engine_down import REMOTE, engine_down
from dayfly.doctor.kernel_limits import kernel_limits
from dayfly.doctor.packages import FindSources, NeededSuite, check_packages
from dayfly.drivers.interfaces import EngineInfo, ImageInfo
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer
from dayfly.errors import DatabaseInUse, DayflyError

PATIENCE_SECONDS: Final = 15.0
PROBE_PATIENCE_SECONDS: Final = 120.0
_UNTRIED: Final = Check("accelerator", "warn", "not tested: the test needs a container", "repair the engine first")


@dataclass(frozen=True)
class Subject:
    """The subject of an examination.

    `probe` finds the accelerator, None when there is no image to boot; `ping_database` raises DayflyError.
    `database_file` is SQLite's file, None for a database server; `wanted` is the configured accelerator.
    `engine_address` is the engine's URL and its source (drivers/docker/engine_address.py); None: there is none.
    `find_sources` finds the mirrors for bakes (raises DayflyError); None: mirrors are not checked.
    `check_caches` checks the registry caches; None: there are none. `loopback_is_operator` is the setting.
    `check_tls` checks the API's TLS.
    """

    engine_info: Callable[[], Awaitable[EngineInfo]]
    node_images: Callable[[], Awaitable[Sequence[ImageInfo]]]
    probe: Callable[[], Awaitable[AcceleratorAnswer | None]]
    ping_database: Callable[[], Awaitable[None]]
    database_file: Path | None
    wanted: Literal["auto", "kvm", "tcg"]
    state_dir: Path
    cache_dir: Path
    engine_address: tuple[str, str | None] | None = ("unix:///var/run/docker.sock", None)
    needed_suites: tuple[NeededSuite, ...] = ()
    find_sources: FindSources | None = None
    check_caches: Callable[[], Awaitable[Check]] | None = None
    loopback_is_operator: bool = False
    check_tls: Callable[[], Check] = lambda: Check("tls", "ok", "off")
    host: Host = field(default_factory=Host)


async def examine(subject: Subject) -> tuple[Check, ...]:
    """All checks, in the order of their repair. Raises nothing: a failed query is a failed check."""
    host = subject.host
    info, engine = await _ask_engine(subject)
    found = [engine]
    if info is not None:
        found += [
            checks.storage_driver(info),
            checks.cgroups(info),
            checks.neighbours(info),
            await _check_images(subject),
        ]
        if subject.check_caches is not None:
            found.append(await subject.check_caches())
    found += [
        checks.tun(host),
        await _check_accelerator(subject) if info is not None or subject.wanted == "tcg" else _UNTRIED,
        checks.cores(info.cpus if info else host.cores()),
        checks.memory(host, info),
        checks.forwarding(host, info),
        checks.kernel_network(host),
        *kernel_limits(host),
        checks.engine_disk(host, info),
        checks.cache_disk(host, subject.cache_dir),
        checks.writable("state", host, subject.state_dir),
        await _check_database(subject),
        checks.access(subject.loopback_is_operator),
        subject.check_tls(),
        checks.bake_tools(host),
    ]
    # Without apt this host itself uses no mirror.
    if subject.find_sources is not None and host.which("apt-get") is not None:
        found += await check_packages(subject.needed_suites, subject.find_sources)
    return tuple(found)


async def _ask_engine(subject: Subject) -> tuple[EngineInfo | None, Check]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            info = await subject.engine_info()
    except (DayflyError, TimeoutError) as error:
        reason = _text(error, f"the engine did not answer within {PATIENCE_SECONDS:.0f} s")
        if subject.engine_address is None:
            return None, Check("engine", "fail", reason, "correct it, or unset it")
        return None, engine_down(subject.host, *subject.engine_address, reason)
    found = f"{info.name} {info.version} on Linux {info.kernel}; API {info.api_version}, oldest {info.min_api_version}"
    found += f"; image store: {info.image_store}"
    if subject.engine_address is not None and subject.engine_address[0].startswith(REMOTE):
        found += "; the checks of kernel, memory and disk are of this machine, whatever the engine's is"
    return info, Check("engine", "ok", "; ".join([found, *(f"it {limit}" for limit in info.limitations)]))


async def _check_accelerator(subject: Subject) -> Check:
    if subject.wanted == "tcg":
        return Check("accelerator", "ok", "tcg, as configured: emulation, ten to twenty times slower than KVM")
    try:
        async with asyncio.timeout(PROBE_PATIENCE_SECONDS):
            answer = await subject.probe()
    except (DayflyError, TimeoutError) as error:
        found = _text(error, f"the test of KVM did not end within {PROBE_PATIENCE_SECONDS:.0f} s")
        return Check("accelerator", "fail", found, "repair the engine, or set DAYFLY_ACCELERATOR=tcg")
    if answer is None:
        device = "/dev/kvm" if subject.host.path("/dev/kvm").exists() else "no /dev/kvm"
        found = f"{device}; the test needs a node image"
        return Check("accelerator", "warn", found, "dayfly image bake bare, then dayfly doctor again")
    if answer.accelerator == "kvm":
        return Check("accelerator", "ok", f"kvm: {answer.reason}")
    reason, enable = answer.reason, "enable (nested) virtualisation"
    if answer.remembered:
        reason += " (tested earlier since this host booted)"
        enable += f", remove {answer.remembered} and run dayfly doctor again"
    if subject.wanted == "kvm":
        found = f"KVM is required by DAYFLY_ACCELERATOR, but: {reason}"
        return Check("accelerator", "fail", found, f"set DAYFLY_ACCELERATOR=auto, or {enable}")
    found, advice = f"tcg: {reason}", f"clusters work, ten to twenty times slower; for KVM {enable}"
    return Check("accelerator", "warn", found, advice)


async def _check_database(subject: Subject) -> Check:
    file = subject.database_file
    if file is not None and not subject.host.path(file).exists():
        return Check("database", "ok", f"SQLite, to be created at {file}")
    what, setting = "PostgreSQL", "DAYFLY_DATABASE_URL"
    if file is not None:
        what, setting = f"SQLite at {file}", "the file, its owner, and DAYFLY_DATABASE_URL or DAYFLY_STATE_DIR"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await subject.ping_database()
    except DatabaseInUse:
        return Check("database", "ok", f"{what}; another process, such as the service, has it open")
    except (DayflyError, TimeoutError) as error:
        return Check("database", "fail", f"{what}: {_text(error, 'no answer')}", f"check {setting}")
    return Check("database", "ok", what)


async def _check_images(subject: Subject) -> Check:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await subject.node_images()
    except (DayflyError, TimeoutError) as error:
        return Check("node images", "fail", _text(error, "the engine did not answer"), "read the engine's log")
    names = sorted(reference for image in found for reference in image.references)
    if names:
        return Check("node images", "ok", ", ".join(names))
    return Check("node images", "warn", "none", "dayfly image bake bare, or dayfly image bake k8s-debian")


def _text(error: Exception, otherwise: str) -> str:
    return error.for_operator if isinstance(error, DayflyError) else otherwise
