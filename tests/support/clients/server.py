"""An API server in memory for clients, with Dayfly's certificates. Not here: Dayfly's own calls (kube_server.py)."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.security.kubeconfig import render_kubeconfig
from dayfly.domain.security.pki import issue_pki
from tests.support.specs import make_spec

VERSION = "v1.20.2"
NODE = "node01"
PROXY = "kube-proxy-x"
POD = "web-x"
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": POD, "namespace": "default"},
    "spec": {"containers": [{"name": "web"}]},
    "status": {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]},
}
_PROXY = _POD | {"metadata": {"name": PROXY, "namespace": "kube-system", "labels": {"k8s-app": "kube-proxy"}}}


class ClientServer:
    """A node, two pods, and ConfigMaps by name. It holds one change for the one watch."""

    def __init__(self) -> None:
        self._maps: dict[str, dict[str, Any]] = {}
        self._changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._version = 1

    async def version(self, request: Request) -> Response:
        known = {
            "major": "1",
            "minor": "20",
            "gitVersion": VERSION,
            "gitCommit": "",
            "gitTreeState": "",
            "buildDate": "",
        }
        return JSONResponse(known | {"goVersion": "", "compiler": "", "platform": ""})

    async def nodes(self, request: Request) -> Response:
        return _list("Node", [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}])

    async def pods(self, request: Request) -> Response:
        pod = _POD if request.path_params["namespace"] == "default" else _PROXY
        return _list("Pod", [pod])

    async def pod(self, request: Request) -> Response:
        return JSONResponse(_POD if request.path_params["name"] == POD else _PROXY)

    async def log(self, request: Request) -> Response:
        return PlainTextResponse("Using iptables Proxier.\n")

    async def execute(self, socket: WebSocket) -> None:
        await socket.accept("v4.channel.k8s.io")
        await socket.send_bytes(b"\1" + b"42\n")
        await socket.send_bytes(b"\3" + json.dumps({"metadata": {}, "status": "Success"}).encode())
        await socket.close()

    async def config_maps(self, request: Request) -> Response:
        if request.method == "POST":
            return JSONResponse(self._put(await request.json()), 201)
        name = request.query_params["fieldSelector"].rpartition("=")[2]
        if request.query_params.get("watch", "false").lower() == "true":
            return StreamingResponse(self._events(name), media_type="application/json")
        return _list("ConfigMap", [self._maps[name]] if name in self._maps else [])

    async def config_map(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._maps:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            return JSONResponse(status | {"metadata": {}, "message": f'configmaps "{name}" not found'}, 404)
        if request.method == "PATCH":
            patch = await request.json()
            changed = self._put(self._maps[name] | {"data": self._maps[name]["data"] | patch["data"]})
            self._changes.put_nowait(changed)
            return JSONResponse(changed)
        if request.method == "DELETE":
            del self._maps[name]
            return JSONResponse({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        return JSONResponse(self._maps[name])

    def _put(self, given: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        metadata = given["metadata"] | {"resourceVersion": str(self._version)}
        self._maps[metadata["name"]] = given | {"metadata": metadata}
        return self._maps[metadata["name"]]

    async def _events(self, name: str) -> AsyncIterator[str]:
        self._changes = asyncio.Queue()
        yield json.dumps({"type": "ADDED", "object": self._maps[name]}) + "\n"
        while True:
            yield json.dumps({"type": "MODIFIED", "object": await self._changes.get()}) + "\n"


def _list(kind: str, items: list[Mapping[str, Any]]) -> Response:
    return JSONResponse(
        {"apiVersion": "v1", "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": items}
    )


@asynccontextmanager
async def running_client_server(folder: Path, address: str, *, advertised: str) -> AsyncIterator[str]:
    """A server at an address of this machine; yields a caller's kubeconfig.

    `advertised`: the installation's host at the time when the server's certificate was issued.
    """
    pki = issue_pki(make_spec(kubernetes=True), datetime.now(UTC), advertised)
    for name in ("ca.crt", "apiserver.crt", "apiserver.key"):
        (folder / name).write_text(pki[f"pki/{name}"])
    kube = ClientServer()
    namespaced = "/api/v1/namespaces/{namespace}"
    config_maps, pods = f"{namespaced}/configmaps", f"{namespaced}/pods"
    app = Starlette(
        routes=[
            Route("/version", kube.version),
            Route("/version/", kube.version),
            Route("/api/v1/nodes", kube.nodes),
            Route(config_maps, kube.config_maps, methods=["GET", "POST"]),
            Route(config_maps + "/{name}", kube.config_map, methods=["GET", "PATCH", "DELETE"]),
            Route(pods, kube.pods),
            Route(pods + "/{name}", kube.pod),
            Route(pods + "/{name}/log", kube.log),
            WebSocketRoute(pods + "/{name}/exec", kube.execute),
        ]
    )
    config = uvicorn.Config(
        app,
        ssl_certfile=folder / "apiserver.crt",
        ssl_keyfile=folder / "apiserver.key",
        ssl_ca_certs=str(folder / "ca.crt"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        ws="wsproto",
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server((address, 0)) as listening:
        serving = asyncio.create_task(server._serve([listening]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            yield render_kubeconfig("demo", pki, Endpoint(address, listening.getsockname()[1]))
        finally:
            server.should_exit = True
            await serving
