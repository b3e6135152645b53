"""The gain of templates: forks, resets, resumes and claims, compared with creation from the image, on real machines.

    .venv/bin/python -m tests.bench.template --json --plot figures.svg
    .venv/bin/python -m tests.bench.template --image k8s-debian --json kubernetes.json

With its own service, an API and a worker as processes. `bare`: until a command has run on each node by SSH. Kubernetes:
until ready, and until the API answers, all nodes are Ready, and a new pod runs. Prints every figure with its target;
exit code 1 if a target is missed. Removes everything it creates. Not here: the measurements (template_parts.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dayfly.client import Client
from tests.bench import template_parts as parts
from tests.bench.figures import Figures, missed, table
from tests.bench.template_parts import Ground, medians
from tests.bench.template_plot import Report, plot
from tests.support.service import running_service

AIMS: Mapping[str, float] = {
    "fork_running_seconds": 1.5,
    "fork_api_percent": 2.5,
    "fork_nodes_ready_percent": 12.5,
    "fork_pod_percent": 12.5,
    "forks_memory_percent": 50.0,
    "claim_seconds": 2.0,
}
"""Percent: of the same from nothing; of as many booted clusters' memory."""
STDOUT = Path("-")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    figures = measure(options)
    report = Report(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        image=options.image,
        nodes=1 + options.workers,
        accelerator=options.accelerator,
        cores=os.cpu_count() or 0,
        machine=platform.platform(),
        figures=figures,
    )
    print(table({options.image: figures}, AIMS), file=sys.stderr)
    if options.json is not None:
        text = json.dumps({**report.__dict__, "aims": dict(AIMS)}, indent=2)
        if options.json == STDOUT:
            print(text)
        else:
            options.json.write_text(f"{text}\n")
    if options.plot is not None:
        options.plot.write_text(plot([report]))
    failures = missed({options.image: figures}, AIMS) if options.check else []
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="bare", help="bare or k8s-debian")
    parser.add_argument("--workers", type=int, help="nodes beside the control plane (bare: none, else one)")
    parser.add_argument("--rounds", type=int, default=3, help="of each; medians are told")
    parser.add_argument("--forks", type=int, help="at once (bare: 5, else none)")
    parser.add_argument("--accelerator", choices=["tcg", "kvm"], default="tcg")
    parser.add_argument("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE", help="without a file: printed")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG; of several runs: template_plot.py")
    parser.add_argument("--no-check", dest="check", action="store_false", help="end with 0 whatever was missed")
    options = parser.parse_args(argv)
    bare = options.image == "bare"
    for name, value in {"workers": 0 if bare else 1, "forks": 5 if bare else 0}.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def measure(options: argparse.Namespace) -> Figures:
    with (
        tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder,
        running_service(Path(folder), accelerator=options.accelerator) as service,
        Client(service.url) as client,
    ):
        ground = Ground(client, options.image, options.workers, options.image != "bare")
        rounds = range(1, options.rounds + 1)
        figures = medians([_told(f"from nothing, {number}", parts.cold(ground)) for number in rounds])
        figures |= _told("template", parts.template(ground))
        figures |= medians([_told(f"fork, reset, resume, {number}", parts.fork(ground)) for number in rounds])
        if options.forks:
            figures |= _told("forks at once", parts.forks(ground, options.forks))
            figures["forks_memory_percent"] = 100 * figures["forks_mib"] / (options.forks * figures["booted_mib"])
        if not ground.kubernetes:
            figures |= medians([_told(f"claim, {number}", parts.claim(ground)) for number in rounds])
    for what in ("api", "nodes_ready", "pod"):
        if (cold := figures.get(f"cold_{what}_seconds")) is not None:
            figures[f"fork_{what}_percent"] = 100 * figures[f"fork_{what}_seconds"] / cold
    return figures


def _told(part: str, figures: Figures) -> Figures:
    print(f"{part}: {', '.join(f'{name} {value:.2f}' for name, value in figures.items())}", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
