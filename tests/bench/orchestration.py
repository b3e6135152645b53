"""The cost of orchestration: the same cluster by a bare script and by the service, in turn, in one run.

    .venv/bin/python -m tests.bench.orchestration --image bare --rounds 5 --json result.json

`bare`: until the first SSH command on every node. With Kubernetes: until all nodes are Ready and pods can be created.
Prints the ratio of the medians; exit code 1 if the service is more than 10 % slower. Removes everything it creates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from dayfly.client import Client
from tests.bench.by_hand import LIMIT_SECONDS, ByHand
from tests.support.service import running_service

ALLOWED_RATIO = 1.10


def main() -> int:
    options = parse()
    hand: list[float] = []
    served: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder,
        running_service(Path(folder), accelerator=options.accelerator) as service,
    ):
        # The second contender finds warmer caches: the contenders alternate.
        contenders: list[tuple[str, list[float], Callable[[], float]]] = [
            ("by hand", hand, lambda: by_hand(options, Path(folder))),
            ("service", served, lambda: by_service(options, service.url)),
        ]
        for turn in range(1, options.rounds + 1):
            for name, figures, run in contenders if turn % 2 else reversed(contenders):
                figures.append(run())
                print(f"round {turn}: {name} {figures[-1]:.2f} s", flush=True)
    ratio = median(served) / median(hand)
    print(
        f"{options.image}, {1 + options.workers} nodes, {options.accelerator}: by hand {median(hand):.2f} s, "
        f"service {median(served):.2f} s (medians of {options.rounds}), ratio {ratio:.3f}"
    )
    if options.json is not None:
        report = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "image": options.image,
            "workers": options.workers,
            "accelerator": options.accelerator,
            "by_hand_seconds": hand,
            "service_seconds": served,
            "ratio": ratio,
            "allowed": ALLOWED_RATIO,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if ratio <= ALLOWED_RATIO else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="bare", help="bare or k8s-debian")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accelerator", choices=["tcg", "kvm"], default="tcg", help="the same for both")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def by_hand(options: argparse.Namespace, folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        began = time.monotonic()
        cluster = ByHand(options.image, options.workers, options.accelerator, Path(own))
        try:
            cluster.make()
            return time.monotonic() - began
        finally:
            cluster.remove()


def by_service(options: argparse.Namespace, url: str) -> float:
    readiness = "booted" if options.image == "bare" else "nodes"
    with Client(url) as client:
        began = time.monotonic()
        cluster = client.create(image=options.image, workers=options.workers, readiness=readiness)
        try:
            client.wait_ready(cluster.id, timeout_seconds=LIMIT_SECONDS)
            return time.monotonic() - began
        finally:
            client.delete(cluster.id)
            client.wait_deleted(cluster.id)


if __name__ == "__main__":
    sys.exit(main())
