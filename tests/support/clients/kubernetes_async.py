"""The packages `kubernetes.aio` and `kubernetes_asyncio`, whose calls have the same names.

Both read `tls-server-name`, but for exec: the websocket's certificate is verified for the host of the kubeconfig's
server. `_Named` gives the name to aiohttp, for a host for which the server's certificate is not valid.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.clients.calls import NAMESPACE, REQUEST_SECONDS, config_map, only_object, server_name

_BOUNDED = {"_request_timeout": REQUEST_SECONDS}


class _Named:
    """A session of aiohttp that verifies websockets for `name`."""

    def __init__(self, session: Any, name: str) -> None:
        self._session = session
        self._name = name

    def ws_connect(self, url: str, **options: Any) -> Any:
        return self._session.ws_connect(url, server_hostname=self._name, **options)

    async def close(self) -> None:
        await self._session.close()


class Asynchronous:
    """The package `library`, on an event loop of its own."""

    def __init__(self, kubeconfig: Path, library: str, *, named: bool) -> None:
        self._runner = asyncio.Runner()
        self._client, self._config, self._stream, self._watch = (
            importlib.import_module(f"{library}.{part}") for part in ("client", "config", "stream", "watch")
        )
        self._name = server_name(kubeconfig.read_text()) if named else None
        self._configuration = self._client.Configuration()
        self._api = self._run(self._connect(kubeconfig))
        self._core = self._client.CoreV1Api(self._api)

    def version(self) -> str:
        return str(self._run(self._client.VersionApi(self._api).get_code(**_BOUNDED)).git_version)

    def nodes(self) -> set[str]:
        return {node.metadata.name for node in self._run(self._core.list_node(**_BOUNDED)).items}

    def create(self, name: str, data: Mapping[str, str]) -> None:
        self._run(self._core.create_namespaced_config_map(NAMESPACE, config_map(name, data), **_BOUNDED))

    def read(self, name: str) -> dict[str, str]:
        return dict(self._run(self._core.read_namespaced_config_map(name, NAMESPACE, **_BOUNDED)).data)

    def patch(self, name: str, data: Mapping[str, str]) -> None:
        self._run(self._core.patch_namespaced_config_map(name, NAMESPACE, {"data": dict(data)}, **_BOUNDED))

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        """`change` is called between two steps of the event loop, which has the open watch."""
        events = self._run(self._events(name))
        try:
            while (event := self._run(anext(events)))["type"] != "MODIFIED":
                change()
        finally:
            self._run(events.close())
        return dict(event["object"].data)

    def delete(self, name: str) -> None:
        self._run(self._core.delete_namespaced_config_map(name, NAMESPACE, **_BOUNDED))

    def pods(self, namespace: str, labels: str) -> set[str]:
        found = self._run(self._core.list_namespaced_pod(namespace, label_selector=labels, **_BOUNDED))
        return {pod.metadata.name for pod in found.items}

    def log(self, namespace: str, pod: str) -> str:
        return str(self._run(self._core.read_namespaced_pod_log(pod, namespace, **_BOUNDED)))

    def execute(self, pod: str, command: Sequence[str]) -> str:
        return str(self._run(self._execute(pod, command)))

    def is_not_found(self, error: Exception) -> bool:
        return isinstance(error, self._client.ApiException) and error.status == 404

    def close(self) -> None:
        self._run(self._api.close())
        self._runner.close()

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    async def _connect(self, kubeconfig: Path) -> Any:
        await self._config.load_kube_config(str(kubeconfig), client_configuration=self._configuration)
        return self._client.ApiClient(self._configuration)

    async def _events(self, name: str) -> Any:
        call = self._core.list_namespaced_config_map
        return self._watch.Watch().stream(call, NAMESPACE, field_selector=only_object(name), **_BOUNDED)

    async def _execute(self, pod: str, command: Sequence[str]) -> str:
        async with self._stream.WsApiClient(self._configuration) as api:
            rest = api.rest_client
            if rest.pool_manager is None:  # `kubernetes.aio` makes its session late.
                rest.pool_manager = rest._create_pool_manager()
            if self._name is not None:
                rest.pool_manager = _Named(rest.pool_manager, self._name)
            call = self._client.CoreV1Api(api).connect_get_namespaced_pod_exec
            return str(await call(pod, NAMESPACE, command=list(command), stdout=True, stderr=True))
