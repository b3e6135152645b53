"""The package `kr8s`. It reads `tls-server-name`.

It warns that it supports no server as old as 1.20, and leaves copies of the kubeconfig's key in the temporary folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import kr8s
from kr8s.objects import ConfigMap, Node, Pod

from tests.support.clients.calls import NAMESPACE, REQUEST_SECONDS, config_map, only_object


class Kr8s:
    """`kr8s.Api`, and its objects."""

    def __init__(self, kubeconfig: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Kubernetes version .* is not supported")
            self._api = kr8s.api(kubeconfig=str(kubeconfig))
        self._api.timeout = REQUEST_SECONDS

    def version(self) -> str:
        return str(self._api.version()["gitVersion"])

    def nodes(self) -> set[str]:
        return {node.name for node in self._api.get(Node)}

    def create(self, name: str, data: Mapping[str, str]) -> None:
        ConfigMap(config_map(name, data), api=self._api).create()

    def read(self, name: str) -> dict[str, str]:
        return dict(self._config_map(name).data)

    def patch(self, name: str, data: Mapping[str, str]) -> None:
        self._config_map(name).patch({"data": dict(data)})

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        for kind, found in self._api.watch(ConfigMap, namespace=NAMESPACE, field_selector=only_object(name)):
            if kind == "MODIFIED":
                return dict(found.data)
            change()
        raise AssertionError("the watch ended")

    def delete(self, name: str) -> None:
        self._config_map(name).delete()

    def pods(self, namespace: str, labels: str) -> set[str]:
        return {pod.name for pod in self._api.get(Pod, namespace=namespace, label_selector=labels)}

    def log(self, namespace: str, pod: str) -> str:
        return "\n".join(self._pod(pod, namespace).logs())

    def execute(self, pod: str, command: Sequence[str]) -> str:
        return bytes(self._pod(pod, NAMESPACE).exec(list(command)).stdout).decode()

    def is_not_found(self, error: Exception) -> bool:
        return isinstance(error, kr8s.NotFoundError)

    def close(self) -> None:
        pass

    def _config_map(self, name: str) -> ConfigMap:
        return ConfigMap.get(name, namespace=NAMESPACE, api=self._api)

    def _pod(self, name: str, namespace: str) -> Pod:
        return Pod.get(name, namespace=namespace, api=self._api)
