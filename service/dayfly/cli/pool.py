"""`dayfly pool …`, over HTTP. Not here: output (template_pool_output.py)."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Final, get_args

import typer

from dayfly.cli import options, template_pool_output
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError, ignored_not_found
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import Client, Period, Pool
from dayfly.vocabulary import Day, Readiness

app = typer.Typer(no_args_is_help=True, help="Keep paused clusters ready for the next caller.", add_completion=False)

_DAYS: Final = get_args(Day)
_PERIOD: Final = re.compile(r"(?P<days>[a-z,-]+) (?P<since>\d\d:\d\d)-(?P<until>\d\d:\d\d) (?P<size>\d{1,4})")
_PERIOD_HELP: Final = "Another size for a part of the week, in UTC: 'mon-fri 07:00-19:00 4'. May be repeated."
_PASSING_CONDITIONS: Final = {
    "template_building",
    "insufficient_capacity",
    "engine_unavailable",
    "database_unavailable",
}
"""Codes of conditions that pass without a caller: a wait goes on."""

PoolName = Annotated[str, typer.Argument(metavar="NAME", help="A pool's name or id.")]
Maximum = Annotated[int | None, typer.Option(min=0, help="Upper limit of the size, for every period of the schedule.")]
Schedule = Annotated[list[str] | None, typer.Option("--schedule", metavar="PERIOD", help=_PERIOD_HELP)]
MaxAge = Annotated[float | None, options.duration("Replace members that have waited for so long.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The pool's name.")],
    *,
    image: options.Image,
    size: Annotated[int, typer.Option(min=0, help="Number of clusters that wait.")],
    maximum: Maximum = None,
    schedule: Schedule = None,
    max_age: MaxAge = None,
    workers: options.Workers = 0,
    vcpus: options.Vcpus = None,
    memory_mib: options.MemoryMib = None,
    disk_gib: options.DiskGib = None,
    worker_vcpus: options.WorkerVcpus = None,
    worker_memory_mib: options.WorkerMemoryMib = None,
    worker_disk_gib: options.WorkerDiskGib = None,
    readiness: Annotated[Readiness | None, typer.Option(help="Condition for `ready` of the members.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of the clusters that may claim members.")] = None,
    addon: options.Addons = None,
    wait: options.Wait = False,
    timeout: options.Timeout = 3600.0,
    idempotency_key: options.IdempotencyKey = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Create a pool: new clusters of the same shape and owner claim its members, and are ready sooner."""
    with Client() as client:
        made = client.create_pool(
            name,
            image=image,
            size=size,
            maximum=maximum,
            schedule=parse_schedule(schedule or []),
            max_age_seconds=None if max_age is None else round(max_age),
            workers=workers,
            **options.sizes((vcpus, memory_mib, disk_gib), (worker_vcpus, worker_memory_mib, worker_disk_gib)),
            readiness=readiness,
            owner=owner,
            addons=addon or None,
            idempotency_key=idempotency_key,
        )
        if wait:
            made = wait_for(
                partial(client.pool, made.id),
                lambda one: _is_filled(one) or _cannot_fill(one),
                template_pool_output.pool_progress,
                f"pool {made.name}",
                timeout,
                if_interrupted=(
                    f"pool {made.name} is being filled; it lives until it is deleted",
                    f"dayfly pool delete {made.name}",
                ),
            )
            _require_filled(made)
    emit(made, template_pool_output.sentence(made), output, as_json)


@app.command("list")
def list_pools(output: options.Output = None, as_json: options.Json = False) -> None:
    """List pools, by name."""
    with Client() as client:
        found = client.pools()
    emit(found, template_pool_output.pools(found), output, as_json)


@app.command()
def show(name: PoolName, output: options.Output = None, as_json: options.Json = False) -> None:
    """Show a pool: its size, schedule and members."""
    with Client() as client:
        found = client.pool(name)
    emit(found, template_pool_output.pool(found), output, as_json)


@app.command()
def change(
    name: PoolName,
    size: Annotated[int | None, typer.Option(min=0, help="Number of clusters that wait.")] = None,
    maximum: Maximum = None,
    schedule: Schedule = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="Remove the schedule.")] = False,
    max_age: MaxAge = None,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Change a pool. Omitted options keep their values."""
    if no_schedule and schedule:
        raise typer.BadParameter("give either --schedule or --no-schedule")
    periods = parse_schedule(schedule) if schedule else () if no_schedule else None
    seconds = None if max_age is None else round(max_age)
    with Client() as client:
        changed = client.change_pool(name, size=size, maximum=maximum, schedule=periods, max_age_seconds=seconds)
    emit(changed, template_pool_output.sentence(changed), output, as_json)


@app.command()
def delete(
    name: PoolName,
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Delete a pool and its members. Claimed clusters stay."""
    with Client() as client, ignored_not_found(ignore_not_found):
        deleted = client.delete_pool(name)
    members = deleted.ready + deleted.provisioning  # before the deletion
    more = "; its members are being deleted" if members else ""
    emit(deleted, f"pool {deleted.name} is deleted{more}", output, as_json)


def parse_schedule(given: list[str]) -> tuple[Period, ...]:
    """`mon-fri 07:00-19:00 4`, `sat,sun 00:00-24:00 0`. Raises BadParameter."""
    return tuple(map(_parse_period, given))


def _is_filled(pool: Pool) -> bool:
    return pool.ready >= pool.desired_size


def _cannot_fill(pool: Pool) -> bool:
    """Whether the condition stays: the template or the image, or each member so far, has failed.

    While others are ready or being provisioned, a failed member is one of few, and will be replaced.
    """
    lasts = pool.condition is not None and pool.condition.code not in _PASSING_CONDITIONS
    return lasts and not pool.ready and not pool.provisioning


def _require_filled(pool: Pool) -> None:
    if pool.condition is None or _is_filled(pool):
        return
    detail = f"pool {pool.name} is not filled: {pool.condition.message}"
    raise CommandError(pool.condition.code, detail, f"dayfly pool show {pool.name}", exit_code=ExitCode.FAILED)


def _parse_period(text: str) -> Period:
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a period: write 'mon-fri 07:00-19:00 4'")
    days = [day for part in found["days"].split(",") for day in _parse_days(part, text)]
    return Period(days=tuple(days), since=found["since"], until=found["until"], size=int(found["size"]))


def _parse_days(part: str, text: str) -> tuple[Day, ...]:
    first, _, last = part.partition("-")
    try:
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: days are {', '.join(_DAYS)}") from None
    if end < begin:
        raise typer.BadParameter(f"{text!r}: {part} ends before it begins; write two parts, separated by a comma")
    return tuple(_DAYS[begin : end + 1])
