"""The full examination: a service of its own, all trials in order, and the report.

Not here: the trials (trials/), and their execution (runner.py).
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from dayfly.app import open_infrastructure
from dayfly.client import AsyncClient
from dayfly.clock import Clock, SystemClock
from dayfly.doctor.checks import Host, total_memory
from dayfly.doctor.full.evidence import Evidence
from dayfly.doctor.full.report import Report
from dayfly.doctor.full.runner import Runner, Trial, Watcher
from dayfly.doctor.full.service import TrialService, operator_token, trial_settings
from dayfly.doctor.full.session import Session
from dayfly.doctor.full.trials import cold, end, saved, start, transfer
from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS
from dayfly.settings import Settings

_CHECK_SECONDS: Final = 300.0
_BAKE_SECONDS: Final = 2 * 3600.0
_START_SECONDS: Final = 60.0
_TRANSFER_SECONDS: Final = 900.0


async def examine_fully(
    settings: Settings,
    image: str,
    *,
    view: Watcher,
    stop: asyncio.Event,
    evidence: Path | None,
    write: Callable[[Path, bytes], None],
) -> Report:
    """Run all trials once on this host with `settings`; `image` is a recipe, or a reference.

    Leaves nothing behind, also when a trial fails, `stop` is set or the caller is cancelled. `evidence`: the folder for
    the evidence of failures; `write` writes its files.
    """
    clock = SystemClock()
    began = clock.monotonic()
    async with _session(settings, image, clock, view.show_progress) as session:
        kept = Evidence(evidence, session.evidence, write)
        runner = Runner(clock, view, stop, session.service.unexpected_end, lambda: session.progress, kept.keep)
        cleaning = Trial("clean-up", partial(end.clean_up, session), lambda: 2 * TEARDOWN_SECONDS)
        results = await runner.run(trials_of(session), cleaning)
        kept.keep_log(session.service.log())
        return Report(
            interrupted=stop.is_set(),
            host=host_facts(Host()),
            engine=asdict(session.engine) if session.engine else {},
            accelerator=asdict(session.accelerator) if session.accelerator else {},
            checks=session.checks,
            trials=results,
            seconds=round(clock.monotonic() - began, 1),
        )


def trials_of(session: Session) -> Sequence[Trial]:
    """All trials but the clean-up, in order."""

    def trial(
        name: str, run: Callable[[Session], Coroutine[Any, Any, str]], limit: Callable[[], float], *needs: str
    ) -> Trial:
        return Trial(name, partial(run, session), limit, needs)

    def commands() -> float:
        return 12 * session.limits.command

    def loads() -> float:
        return session.save_limit() + session.load_limit() + commands()

    def deletes() -> float:
        return 3 * TEARDOWN_SECONDS

    return (
        trial("host", start.check_host, lambda: _CHECK_SECONDS),
        trial("image", start.find_image, lambda: _BAKE_SECONDS, "host"),
        trial("service", start.start_service, lambda: _START_SECONDS, "image"),
        trial("cold cluster", cold.make_cluster, session.boot_limit, "service"),
        trial("ssh", cold.log_in, commands, "cold cluster"),
        trial("network", cold.reach_each_other, commands, "ssh"),
        trial("registry", cold.use_registry, commands, "ssh"),
        trial("cluster deletion", cold.delete_cluster, deletes, "cold cluster"),
        trial("template", saved.make_template, lambda: session.boot_limit() + loads(), "cold cluster"),
        trial("fork", saved.fork, lambda: 2 * loads(), "template"),
        trial("reset", saved.reset, loads, "fork"),
        trial("checkpoint", saved.checkpoint, lambda: 2 * loads(), "fork"),
        trial("hibernate and resume", saved.hibernate_and_resume, lambda: 2 * loads(), "fork"),
        trial("image transfer", transfer.transfer_image, lambda: _TRANSFER_SECONDS, "fork"),
        trial("deletion", end.delete_all, deletes, "service"),
        trial("gc", end.check_no_orphans, lambda: _START_SECONDS, "deletion"),
        trial("nothing left", end.check_nothing_left, lambda: _START_SECONDS, "deletion"),
    )


def host_facts(host: Host) -> Mapping[str, object]:
    """Facts of the machine that the examination runs on; the engine may be on another machine."""
    release = dict(line.split("=", 1) for line in (host.read("/etc/os-release") or "").splitlines() if "=" in line)
    memory = total_memory(host)
    return {
        "system": release.get("PRETTY_NAME", "").strip('"') or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": host.cores(),
        "memory_mib": None if memory is None else memory >> 20,
    }


@asynccontextmanager
async def _session(operator: Settings, image: str, clock: Clock, show: Callable[[str], None]) -> AsyncIterator[Session]:
    state_dir = Path(tempfile.mkdtemp(prefix="dayfly-doctor-"))  # mode 0700
    try:
        settings = trial_settings(operator, state_dir)
        service = TrialService(settings)
        token = await operator_token(settings)
        async with (
            open_infrastructure(settings, clock) as infrastructure,
            AsyncClient(service.url, token=token) as api,
        ):
            yield Session(operator, settings, image, infrastructure, api, service, clock, show)
    finally:
        shutil.rmtree(state_dir)
