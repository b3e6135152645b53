"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import typer

from dayfly.cli.errors import checked_values
from dayfly.cli.formatting import parse_duration
from dayfly.client import SizeRequest
from dayfly.vocabulary import OutputFormat


def duration(help: str, *names: str) -> Any:  # noqa: A002 - typer's own word
    """An option for a duration, as seconds (formatting.parse_duration)."""
    return typer.Option(*names, parser=parse_duration, metavar="DURATION", help=help)


Name = Annotated[str, typer.Argument(metavar="NAME", help="A cluster's name or id.")]
Json = Annotated[bool, typer.Option("--json", help="As --output json.")]
Output = Annotated[
    OutputFormat | None, typer.Option("--output", "-o", help="Print in this format instead of text for people.")
]
IgnoreNotFound = Annotated[bool, typer.Option("--ignore-not-found", help="Succeed if it does not exist.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Show the progress and wait until it is complete.")]
Timeout = Annotated[float, duration("Longest wait: 90s, 10m, 1h.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="A repeated command with the same key and options is carried out once. Default: new.",
    ),
]
Image = Annotated[str, typer.Option(help="A recipe's name or an image's reference.")]
Workers = Annotated[int, typer.Option(min=0, help="Nodes beside the control plane.")]
Addons = Annotated[
    list[str] | None, typer.Option("--addon", metavar="NAME", help="An add-on (dayfly addon list). May be repeated.")
]
Vcpus = Annotated[int | None, typer.Option(min=1, help="vCPUs of each node. Default: the image's.")]
MemoryMib = Annotated[int | None, typer.Option(min=1, help="Memory of each node. Default: the image's.")]
DiskGib = Annotated[int | None, typer.Option(min=1, help="Disk of each node. Default: the image's.")]
WorkerVcpus = Annotated[int | None, typer.Option(min=1, help="vCPUs of each worker. Default: as --vcpus.")]
WorkerMemoryMib = Annotated[int | None, typer.Option(min=1, help="Memory of each worker. Default: as --memory-mib.")]
WorkerDiskGib = Annotated[int | None, typer.Option(min=1, help="Disk of each worker. Default: as --disk-gib.")]


class Sizes(TypedDict):
    control_plane: SizeRequest
    worker: SizeRequest


def sizes(node: tuple[int | None, int | None, int | None], worker: tuple[int | None, int | None, int | None]) -> Sizes:
    """The sizes of a request, from the options for all nodes and for workers: vCPUs, MiB, GiB."""
    of_worker = [given or common for given, common in zip(worker, node, strict=True)]
    return {"control_plane": _size(*node), "worker": _size(*of_worker)}


def _size(vcpus: int | None, memory_mib: int | None, disk_gib: int | None) -> SizeRequest:
    with checked_values():
        return SizeRequest(vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
