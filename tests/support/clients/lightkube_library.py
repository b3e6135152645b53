"""The package `lightkube`. It does not read `tls-server-name`.

`Named` is the transport that it may be given, for a host for which the server's certificate is not valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx2
import lightkube
from lightkube.config.client_adapter import verify_cluster
from lightkube.resources.core_v1 import ConfigMap, Node, Pod

from tests.support.clients.calls import NAMESPACE, REQUEST_SECONDS, config_map, server_name


class Named(httpx2.HTTPTransport):
    """Verifies `name`, whatever host is dialled."""

    def __init__(self, config: lightkube.SingleConfig, name: str) -> None:
        super().__init__(verify=verify_cluster(config.cluster, config.user, config.abs_file))
        self._name = name

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": self._name}
        return super().handle_request(request)


class Lightkube:
    """`lightkube.Client`."""

    def __init__(self, kubeconfig: Path, *, named: bool) -> None:
        config = lightkube.KubeConfig.from_file(kubeconfig).get()
        transport = Named(config, server_name(kubeconfig.read_text())) if named else None
        self._client = lightkube.Client(config, timeout=httpx2.Timeout(REQUEST_SECONDS), transport=transport)

    def version(self) -> str:
        raise NotImplementedError("lightkube has no such call")

    def nodes(self) -> set[str]:
        return {node.metadata.name for node in self._client.list(Node)}

    def create(self, name: str, data: Mapping[str, str]) -> None:
        self._client.create(ConfigMap.from_dict(config_map(name, data)))

    def read(self, name: str) -> dict[str, str]:
        return dict(self._client.get(ConfigMap, name, namespace=NAMESPACE).data)

    def patch(self, name: str, data: Mapping[str, str]) -> None:
        self._client.patch(ConfigMap, name, {"data": dict(data)}, namespace=NAMESPACE)

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        for kind, found in self._client.watch(ConfigMap, namespace=NAMESPACE, fields={"metadata.name": name}):
            if kind == "MODIFIED":
                return dict(found.data)
            change()
        raise AssertionError("the watch ended")

    def delete(self, name: str) -> None:
        self._client.delete(ConfigMap, name, namespace=NAMESPACE)

    def pods(self, namespace: str, labels: str) -> set[str]:
        name, _, value = labels.partition("=")
        return {pod.metadata.name for pod in self._client.list(Pod, namespace=namespace, labels={name: value})}

    def log(self, namespace: str, pod: str) -> str:
        return "".join(self._client.log(pod, namespace=namespace))

    def execute(self, pod: str, command: Sequence[str]) -> str:
        done = self._client.exec(
            pod, namespace=NAMESPACE, command=command, stdout=True, raise_on_error=True, timeout=REQUEST_SECONDS
        )
        return str(done.stdout)

    def is_not_found(self, error: Exception) -> bool:
        return isinstance(error, lightkube.ApiError) and error.status.code == 404

    def close(self) -> None:
        self._client.close()
