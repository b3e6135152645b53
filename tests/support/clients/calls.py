"""What every client of Kubernetes is asked to do: one table of calls. Not here: the clients, one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml

NAMESPACE: Final = "default"
REQUEST_SECONDS: Final = 60
"""Of one request: an emulated API server takes longer than some clients' defaults."""
_FIRST: Final = {"colour": "red"}
_CHANGED: Final = {"colour": "green"}
_WATCHED: Final = {"colour": "blue"}


class KubeClient(Protocol):
    """A client's calls, in plain values. Errors are the client's own. ConfigMaps are in NAMESPACE."""

    def version(self) -> str:
        """The server's version, such as `v1.20.2`."""
        ...

    def nodes(self) -> set[str]: ...

    def create(self, name: str, data: Mapping[str, str]) -> None:
        """Create a ConfigMap."""
        ...

    def read(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap."""
        ...

    def patch(self, name: str, data: Mapping[str, str]) -> None: ...

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        """The data of a ConfigMap in the first event after `change`, which is called when the watch is open."""
        ...

    def delete(self, name: str) -> None: ...

    def pods(self, namespace: str, labels: str) -> set[str]:
        """The names of the pods with `labels` (`name=value`)."""
        ...

    def log(self, namespace: str, pod: str) -> str: ...

    def execute(self, pod: str, command: Sequence[str]) -> str:
        """The output of a command in a pod of NAMESPACE."""
        ...

    def is_not_found(self, error: Exception) -> bool:
        """Whether `error` is the client's error for an object that does not exist."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Expected:
    """Facts of the cluster."""

    config_map: str
    """A ConfigMap of this client alone."""
    version: str
    nodes: Sequence[str]
    proxies: Sequence[str]
    """The pods of kube-proxy."""
    pod: str
    """A pod of NAMESPACE with a shell."""


def _version(client: KubeClient, expected: Expected) -> None:
    assert client.version() == expected.version


def _nodes(client: KubeClient, expected: Expected) -> None:
    assert client.nodes() == set(expected.nodes)


def _create(client: KubeClient, expected: Expected) -> None:
    client.create(expected.config_map, _FIRST)


def _read(client: KubeClient, expected: Expected) -> None:
    assert client.read(expected.config_map) == _FIRST


def _patch(client: KubeClient, expected: Expected) -> None:
    client.patch(expected.config_map, _CHANGED)
    assert client.read(expected.config_map) == _CHANGED


def _watch(client: KubeClient, expected: Expected) -> None:
    name = expected.config_map
    assert client.watch(name, lambda: client.patch(name, _WATCHED)) == _WATCHED


def _delete(client: KubeClient, expected: Expected) -> None:
    client.delete(expected.config_map)


def _not_found(client: KubeClient, expected: Expected) -> None:
    try:
        client.read(expected.config_map)
    except Exception as error:
        if not client.is_not_found(error):
            raise
    else:
        raise AssertionError("a deleted ConfigMap was read")


def _pods_by_label(client: KubeClient, expected: Expected) -> None:
    assert client.pods("kube-system", "k8s-app=kube-proxy") == set(expected.proxies)


def _log(client: KubeClient, expected: Expected) -> None:
    assert "iptables" in client.log("kube-system", min(expected.proxies))


def _execute(client: KubeClient, expected: Expected) -> None:
    assert client.execute(expected.pod, ["/bin/sh", "-c", "echo $((6 * 7))"]).strip() == "42"


CALLS: Final[Mapping[str, Callable[[KubeClient, Expected], None]]] = {
    "version": _version,
    "nodes": _nodes,
    "create": _create,
    "read": _read,
    "patch": _patch,
    "watch": _watch,
    "delete": _delete,
    "not found": _not_found,
    "pods by label": _pods_by_label,
    "log": _log,
    "exec": _execute,
}
"""In this order; all but the first two and the last three are about one ConfigMap."""


def config_map(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": dict(data),
    }


def only_object(name: str) -> str:
    """A field selector."""
    return f"metadata.name={name}"


def server_name(kubeconfig: str) -> str:
    """`tls-server-name` of a kubeconfig, for clients that do not read it."""
    found = yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["tls-server-name"]
    assert isinstance(found, str)
    return found
