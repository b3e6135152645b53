"""Runs Kubernetes' e2e.test: one process for one spec, so that each has its own time limit, report and log."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError

from tests.conformance import junit
from tests.conformance.lists import CONFORMANCE, FOLDER, focus
from tests.conformance.records import SpecResult, now

SPEC_SECONDS: Final = 1200.0
"""More than any spec waits for anything: ten minutes, and an emulated cluster's own time."""
_DRY_RUN_SECONDS: Final = 300.0
_FIT_SECONDS: Final = 300
"""Until all nodes are schedulable and all pods of kube-system run: otherwise a cluster is not fit for specs."""
_END_SECONDS: Final = 60.0
"""After SIGINT, e2e.test fails the spec, removes its namespace and writes its report."""
_REPORT: Final = "junit_01.xml"


class Unfit(Exception):
    """The cluster is not fit for specs: none has run."""


class NoSpecs(Exception):
    """e2e.test does not list its specs."""


@dataclass(frozen=True)
class EndToEnd:
    """`program` is e2e.test, `kubectl` the kubectl for it. Reports and logs of specs are written to `folder`."""

    program: Path
    kubectl: Path
    folder: Path
    spec_seconds: float = SPEC_SECONDS
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set, init=False, compare=False)
    _over: threading.Event = field(default_factory=threading.Event, init=False, compare=False)

    def specs(self) -> tuple[str, ...]:
        """The names of all conformance specs, sorted; needs no cluster. Raises NoSpecs."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as reports:
            argv = [str(self.program), "-ginkgo.dryRun", f"-ginkgo.focus={CONFORMANCE}", f"-report-dir={reports}"]
            done = subprocess.run(
                [*argv, "-provider=local"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DRY_RUN_SECONDS,
                check=False,
            )
            report = Path(reports) / _REPORT
            if done.returncode != 0 or not report.exists():
                raise NoSpecs(f"{self.program} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
            return tuple(sorted(case.name for case in junit.parse(report.read_text()) if case.outcome != "skipped"))

    def run(self, spec: str, kubeconfig: Path) -> SpecResult:
        """Run one spec on the cluster of `kubeconfig`, beside others perhaps. Raises Unfit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report, log = self.report(spec), self.report(spec).with_suffix(".log")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="conformance-") as reports:
            ended = self._ended(self._argv(spec, kubeconfig, Path(reports)), Path(reports), log)
            seconds = time.monotonic() - began
            written = Path(reports) / _REPORT
            text = written.read_text() if written.exists() else ""
        return self._result(spec, text, ended, seconds, report, log)

    def end_all(self) -> None:
        """End the specs that run, and those that begin. Their results mean nothing."""
        self._over.set()
        for process in tuple(self._running):
            _kill(process)

    def report(self, spec: str) -> Path:
        """The file of a spec's report; its log lies beside it."""
        words = re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-")[:80]
        return self.folder / f"{words}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}.xml"

    def write_merged(self, specs: Sequence[str], target: Path) -> None:
        """One report of all `specs` that ran."""
        reports = [self.report(spec) for spec in specs]
        target.write_text(junit.merge(path.read_text() for path in reports if path.exists()))

    def _argv(self, spec: str, kubeconfig: Path, reports: Path) -> list[str]:
        return [
            str(self.program),
            f"-ginkgo.focus={focus(spec)}",
            "-ginkgo.noColor",
            "-provider=local",
            f"-kubeconfig={kubeconfig}",
            f"-kubectl-path={self.kubectl}",
            f"-report-dir={reports}",
            f"-e2e-output-dir={reports}",
            "-container-runtime=remote",
            f"-node-schedulable-timeout={_FIT_SECONDS}s",
            f"-system-pods-startup-timeout={_FIT_SECONDS}s",
            "-dump-logs-on-failure=false",
            "-disable-log-dump",
        ]

    def _ended(self, argv: list[str], home: Path, log: Path) -> int | None:
        """The exit code; None if the time limit ended the process. Nothing of it is left."""
        environment = {
            **os.environ,
            "KUBE_TEST_REPO_LIST": str(FOLDER / "repos.yaml"),
            # kubectl caches there what the API server has: a reset would not invalidate it.
            "HOME": str(home),
            # The cluster is on this host.
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Specs start kubectl: all of it ends together, and no Ctrl-C gets there by itself.
                start_new_session=True,
            )
            self._running.add(process)
            try:
                if self._over.is_set():
                    _kill(process)
                return process.wait(self.spec_seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_SECONDS)
                return None
            finally:
                _kill(process)
                process.wait()
                self._running.discard(process)

    def _result(self, spec: str, text: str, ended: int | None, seconds: float, report: Path, log: Path) -> SpecResult:
        try:
            cases = {case.name: case for case in junit.parse(text)} if text else {}
        except ParseError:
            cases = {}
        if (before := cases.get("BeforeSuite")) is not None:
            raise Unfit(junit.reason(before.message))
        case = cases.get(spec)
        if ended is None:
            reason = f"not finished within {self.spec_seconds:.0f} s"
            return self._failed(spec, seconds, reason, report)
        if case is None:
            lines = log.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no output")
            return self._failed(spec, seconds, f"e2e.test ended with {ended} and no report: {last.strip()}", report)
        report.write_text(junit.merge([text]))
        if case.outcome == "skipped":
            return SpecResult(outcome="skipped", seconds=round(seconds, 1), reason="skips itself here", at=now())
        if case.outcome == "failed":
            reason = junit.reason(case.message)
            return SpecResult(outcome="failed", seconds=round(case.seconds, 1), reason=reason, at=now())
        return SpecResult(outcome="passed", seconds=round(case.seconds, 1), at=now())

    def _failed(self, spec: str, seconds: float, reason: str, report: Path) -> SpecResult:
        report.write_text(junit.failure_report(spec, seconds, reason))
        return SpecResult(outcome="failed", seconds=round(seconds, 1), reason=reason, at=now())


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
