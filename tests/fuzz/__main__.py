"""schemathesis against a running service with fakes in place of the engine: all checks, stateful, two callers.

    python -m tests.fuzz --cases 10000            a JSON object with counts and findings
    python -m tests.fuzz --cases 500 --seed 4711

Exit code 0: nothing found; 1: findings, each with a request that shows it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from types import FrameType

from tests.fuzz.run import Rounds, fuzz
from tests.fuzz.service import running_service


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many; the last round is completed")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of another run")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # otherwise the service would be left
    began = time.monotonic()
    with running_service() as service:
        result = fuzz(service, given.cases, given.seed, Rounds())
    shown = {
        "seed": given.seed,
        "seconds": round(time.monotonic() - began),
        "cases": result.cases.total(),
        "by_phase": dict(result.cases),
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "findings": dict(sorted(result.findings.items())),
    }
    print(json.dumps(shown, indent=2))
    return 1 if result.findings else 0


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
