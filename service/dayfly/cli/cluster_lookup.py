"""Finds clusters by the name on the command line: living ones first, then the deleted one that had the name last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dayfly.client import ApiError, Client, Cluster

T = TypeVar("T")


def get_cluster(client: Client, name: str) -> Cluster:
    """The cluster with this name or id, else the deleted cluster that had this name last."""
    return by_last_name(client, name, client.get)


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
