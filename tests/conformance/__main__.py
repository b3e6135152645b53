"""Kubernetes' own conformance tests against a Kubernetes cluster of Dayfly.

    python -m tests.conformance build                     e2e.test and its images, from Debian's source; cached
    python -m tests.conformance specs                     all conformance specs, and which of them cannot run here
    python -m tests.conformance run --cluster demo        the short list
    python -m tests.conformance run --cluster demo --list long
    python -m tests.conformance table                     writes RESULTS.md of the results

`run` resets the cluster before each piece of the list, pushes the images to its registry and runs `--jobs` specs at
once; those that Kubernetes calls serial, and those that have failed beside others, alone. Each result is kept at once:
the same command continues an interrupted run. Exit code 0: all specs of the list have passed; 1: some have not; 2: the
run could not begin or go on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from dayfly.cli.progress.bake import BakeView
from dayfly.cli.progress.live import Console
from dayfly.client import Client
from dayfly.client.errors import ClientError
from dayfly.errors import DayflyError
from dayfly.settings import Settings
from tests.conformance import table
from tests.conformance.clusters import NotForked, Target, served
from tests.conformance.e2e import SPEC_SECONDS, EndToEnd, NoSpecs, Unfit
from tests.conformance.lists import ListError, choose, excluded, read_exclusions
from tests.conformance.programs import Programs, open_programs
from tests.conformance.records import KINDS, OtherRecord
from tests.conformance.runner import PIECE, run_list


def main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    settings = Settings()
    results = options.results or settings.cache_dir / "conformance-results"
    try:
        if options.command == "table":
            table.keep_records(results)
            table.write()
            return 0
        with _programs(options.programs, settings) as programs:
            match options.command:
                case "build":
                    print(f"programs: {programs.programs}\nimages: {programs.images}")
                case "specs":
                    _list_specs(programs, results)
                case _:
                    return _run(options, programs, results)
    except (ClientError, DayflyError, ListError, NoSpecs, NotForked, OtherRecord, Unfit, httpx.HTTPError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conformance: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, programs: Programs, results: Path) -> int:
    with _target(options) as target:
        if target.reset is None:
            _say("the cluster is not reset: it was given by its kubeconfig")
        failed = run_list(
            options.list,
            target,
            programs,
            results,
            _say,
            piece=options.piece,
            jobs=options.jobs,
            spec_seconds=options.spec_seconds,
            again=options.again,
        )
        return 1 if failed else 0


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[Target]:
    if options.cluster is not None:
        with Client() as client, served(client, options.cluster) as target:
            yield target
    else:
        yield Target(options.kind, options.kubeconfig, options.registry, image="unknown", kubernetes="unknown")


@contextmanager
def _programs(folder: Path | None, settings: Settings) -> Iterator[Programs]:
    if folder is not None:
        yield Programs.of(folder)
        return
    with ExitStack() as stack:
        with BakeView(Console()) as view:
            programs = stack.enter_context(open_programs(settings, view.show))
        yield programs


def _list_specs(programs: Programs, results: Path) -> None:
    known = EndToEnd(programs.end_to_end, programs.kubectl, results).specs()
    cannot = excluded(known, read_exclusions())
    for spec in known:
        print(spec + (f"    CANNOT: {cannot[spec]}" if spec in cannot else ""))
    short = choose("short", known, ())
    print(f"{len(known)} conformance specs, {len(cannot)} of them cannot run here; {len(short)} in the short list")


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--results", type=Path, help="folder of records, reports and logs (default: in the cache)")
    shared.add_argument(
        "--programs", type=Path, help="folder with programs/ and images/ (default: build, or the cache)"
    )
    for name in ("build", "specs", "table"):
        commands.add_parser(name, parents=[shared])
    run = commands.add_parser("run", parents=[shared])
    run.add_argument("--cluster", help="a cluster of the service at DAYFLY_URL, which is reset before each piece")
    run.add_argument("--kubeconfig", type=Path, help="without --cluster: with --registry and --kind; nothing is reset")
    run.add_argument("--registry", metavar="HOST:PORT", help="where images are pushed that the cluster pulls")
    run.add_argument("--kind", choices=KINDS, help="the record that the results belong to")
    run.add_argument("--list", choices=("short", "long"), default="short")
    run.add_argument("--piece", type=int, default=PIECE, metavar="N", help=f"specs between resets (default: {PIECE})")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="specs at once (default: 1)")
    run.add_argument("--spec-seconds", type=float, default=SPEC_SECONDS, help="the time limit of one spec")
    run.add_argument("--again", choices=("failed", "all"), help="run specs that have a result again")
    options = parser.parse_args(argv)
    if options.command == "run":
        given = [options.kubeconfig, options.registry, options.kind]
        if options.cluster is None and None in given:
            parser.error("give --cluster, or all of --kubeconfig, --registry and --kind")
        if options.cluster is not None and given != [None] * 3:
            parser.error("--cluster excludes --kubeconfig, --registry and --kind")
        if options.piece < 1 or options.jobs < 1:
            parser.error("--piece and --jobs are at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
