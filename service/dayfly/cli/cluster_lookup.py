"""Finds clusters by the name on the command line: living ones first, then the deleted one that had the name last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.client import ApiError, Client, Cluster

T = TypeVar("T")


def by_last_name(client: Client, name: str, fetch: Callable[[str], T]) -> T:
    """`fetch` of the name or id, else of the id of the deleted cluster that had this name last."""
    try:
        return fetch(name)
    except ApiError as error:
        if error.code != "not_found":
            raise
        deleted = client.list(name=name, phases=["deleted"])
        if not deleted:
            raise
        return fetch(deleted[0].id)


@contextmanager
def ready_hint(client: Client, name: str) -> Iterator[None]:
    """Add to `not_ready` the command that makes this cluster ready, if there is one."""
    try:
        yield
    except ApiError as error:
        if error.code != "not_ready":
            raise
        hint = _way_to_ready(client.get(name))
        raise CommandError(error.code, error.detail, hint, exit_code=ExitCode.CONFLICT) from error


def _way_to_ready(cluster: Cluster) -> str | None:
    if cluster.desired == "absent":
        return None
    if cluster.desired == "hibernated":
        return f"dayfly cluster resume {cluster.name} --wait"
    if cluster.phase == "failed":
        return f"dayfly cluster show {cluster.name}"
    return f"dayfly cluster show {cluster.name} --wait ready"
