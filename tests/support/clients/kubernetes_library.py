"""The package `kubernetes`. It reads `tls-server-name`, for exec as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubernetes import client, config, watch
from kubernetes.stream import stream

from tests.support.clients.calls import NAMESPACE, REQUEST_SECONDS, config_map, only_object

_BOUNDED = {"_request_timeout": REQUEST_SECONDS}


class Official:
    """`kubernetes.client`."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = config.new_client_from_config(str(kubeconfig))
        self._core = client.CoreV1Api(self._api)

    def version(self) -> str:
        return str(client.VersionApi(self._api).get_code(**_BOUNDED).git_version)

    def nodes(self) -> set[str]:
        return {node.metadata.name for node in self._core.list_node(**_BOUNDED).items}

    def create(self, name: str, data: Mapping[str, str]) -> None:
        self._core.create_namespaced_config_map(NAMESPACE, config_map(name, data), **_BOUNDED)

    def read(self, name: str) -> dict[str, str]:
        return dict(self._core.read_namespaced_config_map(name, NAMESPACE, **_BOUNDED).data)

    def patch(self, name: str, data: Mapping[str, str]) -> None:
        self._core.patch_namespaced_config_map(name, NAMESPACE, {"data": dict(data)}, **_BOUNDED)

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        events = watch.Watch().stream(
            self._core.list_namespaced_config_map, NAMESPACE, field_selector=only_object(name), **_BOUNDED
        )
        for event in events:
            if event["type"] == "MODIFIED":
                return dict(event["object"].data)
            change()
        raise AssertionError("the watch ended")

    def delete(self, name: str) -> None:
        self._core.delete_namespaced_config_map(name, NAMESPACE, **_BOUNDED)

    def pods(self, namespace: str, labels: str) -> set[str]:
        found = self._core.list_namespaced_pod(namespace, label_selector=labels, **_BOUNDED)
        return {pod.metadata.name for pod in found.items}

    def log(self, namespace: str, pod: str) -> str:
        return str(self._core.read_namespaced_pod_log(pod, namespace, **_BOUNDED))

    def execute(self, pod: str, command: Sequence[str]) -> str:
        call = self._core.connect_get_namespaced_pod_exec
        return str(stream(call, pod, NAMESPACE, command=list(command), stdout=True, stderr=True, **_BOUNDED))

    def is_not_found(self, error: Exception) -> bool:
        return isinstance(error, client.ApiException) and error.status == 404

    def close(self) -> None:
        self._api.close()
