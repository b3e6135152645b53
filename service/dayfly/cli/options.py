"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from dayfly.cli.errors import checked_values
from dayfly.cli.formatting import parse_duration
from dayfly.client import SizeRequest

Name = Annotated[str, typer.Argument(metavar="NAME", help="A cluster's name or id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, showing the progress.")]
Timeout = Annotated[
    float, typer.Option(parser=parse_duration, metavar="DURATION", help="How long to wait at most: 90s, 10m, 1h.")
]
Image = Annotated[str, typer.Option(help="A recipe's name or an image's reference.")]
Workers = Annotated[int, typer.Option(min=0, help="Nodes beside the control plane.")]
Vcpus = Annotated[int | None, typer.Option(min=1, help="Of each node; else the image's.")]
MemoryMib = Annotated[int | None, typer.Option(min=1, help="Of each node; else the image's.")]
DiskGib = Annotated[int | None, typer.Option(min=1, help="Of each node; else the image's.")]
WorkerVcpus = Annotated[int | None, typer.Option(min=1, help="Of each worker, if others.")]
WorkerMemoryMib = Annotated[int | None, typer.Option(min=1, help="Of each worker, if others.")]
WorkerDiskGib = Annotated[int | None, typer.Option(min=1, help="Of each worker, if others.")]


def sizes(
    node: tuple[int | None, int | None, int | None], worker: tuple[int | None, int | None, int | None]
) -> tuple[SizeRequest, SizeRequest]:
    """The control plane's and a worker's, of what is given for all nodes and for workers: vCPUs, MiB, GiB."""
    of_worker = [given or common for given, common in zip(worker, node, strict=True)]
    return _size(node), _size(of_worker)


def _size(given: Sequence[int | None]) -> SizeRequest:
    vcpus, memory_mib, disk_gib = given
    with checked_values():
        return SizeRequest(vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
