"""The cost of a command's start before its first request, as a ratio to an import of httpx.

    python -m tests.bench.cli_start

Prints JSON: CPU seconds, the minimum of some rounds. The rounds alternate, so that a busy host disturbs both.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Final

_ROUNDS: Final = 10
_CODE: Final = {
    "python": "pass",
    "httpx": "import httpx",
    "command": "import dayfly.cli.main, dayfly.cli.cluster",
}


def cpu_seconds(code: str) -> float:
    """CPU seconds of a new interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int = _ROUNDS) -> dict[str, float]:
    """Seconds of each, and the ratio of the command to httpx."""
    seconds = [{name: cpu_seconds(code) for name, code in _CODE.items()} for _ in range(rounds)]
    least = {name: min(one[name] for one in seconds) for name in _CODE}
    return {
        **{f"{name}_seconds": round(value, 3) for name, value in least.items()},
        "ratio": round(least["command"] / least["httpx"], 2),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
