"""One client's run through the table, in a process of its own, with which its threads and temporary files end.

`python -m tests.support.clients.run RUN`: RUN is a Run in JSON; prints each call and its traceback, or null, in JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.support.clients.calls import CALLS, Expected, KubeClient

LIBRARIES: Final = ("kubernetes", "kubernetes.aio", "kubernetes_asyncio", "lightkube", "kr8s")
"""Python's clients, by the names of their packages."""
_LACKING: Final = {"lightkube": {"version"}}
_RUN_SECONDS: Final = 300
"""For all clients at once on an emulated cluster. Not here: how long they take."""
_REPO: Final = Path(__file__).parents[3]


@dataclass(frozen=True)
class Run:
    """`client` is a library, or anything else for kubectl, whose path is `program` then."""

    client: str
    kubeconfig: str
    expected: Expected
    program: str | None = None
    named: bool = True
    """Whether calls that do not read `tls-server-name` are given the name."""


def calls_of(client: str) -> tuple[str, ...]:
    """The calls that a client has."""
    return tuple(call for call in CALLS if call not in _LACKING.get(client, set()))


def results(run: Run, scratch: Path) -> Mapping[str, str | None]:
    """Each call of the client → its traceback, or None. `scratch`: a folder for its temporary files."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.clients.run", json.dumps(asdict(run))],
        cwd=_REPO,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def failures(found: Mapping[str, str | None]) -> str:
    """The tracebacks in `found`, each after its call."""
    return "\n".join(f"{call}: {text}" for call, text in found.items() if text is not None)


def _connect(run: Run) -> KubeClient:
    # Late imports: each library takes seconds.
    kubeconfig = Path(run.kubeconfig)
    match run.client:
        case "kubernetes":
            from tests.support.clients.kubernetes_library import Official

            return Official(kubeconfig)
        case "kubernetes.aio" | "kubernetes_asyncio":
            from tests.support.clients.kubernetes_async import Asynchronous

            return Asynchronous(kubeconfig, run.client, named=run.named)
        case "lightkube":
            from tests.support.clients.lightkube_library import Lightkube

            return Lightkube(kubeconfig, named=run.named)
        case "kr8s":
            from tests.support.clients.kr8s_library import Kr8s

            return Kr8s(kubeconfig)
    from tests.support.clients.kubectl import Kubectl

    assert run.program is not None
    return Kubectl(kubeconfig, run.program)


def _main(text: str) -> None:
    given = json.loads(text)
    run = Run(**{**given, "expected": Expected(**given["expected"])})
    try:
        client = _connect(run)
    except Exception:
        # kr8s asks for the version at once.
        found: dict[str, str | None] = dict.fromkeys(calls_of(run.client), traceback.format_exc())
    else:
        found = {call: _try(call, client, run.expected) for call in calls_of(run.client)}
        client.close()
    print(json.dumps(found))


def _try(call: str, client: KubeClient, expected: Expected) -> str | None:
    try:
        CALLS[call](client, expected)
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    _main(*sys.argv[1:])
