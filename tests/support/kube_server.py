"""A fake API server with the endpoints that Dayfly calls, over mutual TLS, with watches that tests can cut."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.security.kubeconfig import SERVER_NAME, client_identity
from dayfly.domain.security.pki import issue_pki
from dayfly.drivers.interfaces import KubeAccess
from tests.support.kube_objects import KubeObjects
from tests.support.specs import make_spec

TOKEN = "a.service-accounts.token"


class KubeServer:
    """Objects by kind and name; `put` and `drop` reach open watches."""

    def __init__(self) -> None:
        kinds = ("nodes", "serviceaccounts", "pods", "leases", "events")
        self.objects: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds}
        self.refusals: list[tuple[int, str]] = []
        """Answers to the next new pods: status and message."""
        self.raw_refusal: Response | None = None
        """Instead of each of them."""
        self.created: list[dict[str, Any]] = []
        self.deleted: list[tuple[str, str | None]] = []
        self.watches_opened = 0
        self.watching = asyncio.Event()
        self.expired_watches = 0
        """The number of next watches that are refused because their version is too old."""
        self.unavailable = False
        self.kubelets: dict[str, str] = {}
        """The health answer of each kubelet."""
        self.kubelet_asked = asyncio.Event()
        self.services: dict[str, str] = {}
        """The readiness answer of each service."""
        self.service_asked = asyncio.Event()
        self.token_status = 201
        self.accepts_tokens = True
        self.tried: list[dict[str, Any]] = []
        """The pods of dry runs."""
        self.logs: dict[tuple[str, str], str] = {}
        """Container and whether of its previous run (`true`, `false`) → its log."""
        self.raw: dict[str, bytes] = {}
        """Answers to lists by kind, in place of the objects."""
        self.hanging: set[str] = set()
        """Kinds whose lists are never answered."""
        self.asked: list[str] = []
        """The paths of lists and logs."""
        self.config_maps: dict[str, dict[str, Any]] = {}
        """Those that were applied, by `namespace/name`."""
        self.any = KubeObjects()
        self._version = 100
        self._inboxes: list[tuple[str, asyncio.Queue[dict[str, Any] | None]]] = []

    def put(self, kind: str, item: dict[str, Any]) -> None:
        name = item["metadata"]["name"]
        known = name in self.objects[kind]
        self.objects[kind][name] = item
        self._tell(kind, "MODIFIED" if known else "ADDED", item)

    def drop(self, kind: str, name: str) -> None:
        self._tell(kind, "DELETED", self.objects[kind].pop(name))

    def cut_watches(self) -> None:
        for _, inbox in self._inboxes:
            inbox.put_nowait(None)

    def _tell(self, kind: str, event: str, item: dict[str, Any]) -> None:
        self._version += 1
        for watched, inbox in self._inboxes:
            if watched == kind:
                inbox.put_nowait({"type": event, "object": item})

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("not ok", 500) if self.unavailable else PlainTextResponse("ok")

    async def kubelet(self, request: Request) -> Response:
        said = self.kubelets.get(request.path_params["name"], "no such node")
        self.kubelet_asked.set()
        return PlainTextResponse(said, 200 if said == "ok" else 503)

    async def service(self, request: Request) -> Response:
        said = self.services.get(request.path_params["name"], "no endpoints available for service")
        self.service_asked.set()
        return PlainTextResponse(said, 200 if said == "ok" else 503)

    async def collection(self, request: Request) -> Response:
        kind = request.url.path.rpartition("/")[2]
        if self.unavailable:
            return JSONResponse({"message": "starting"}, 503)
        if (bearer := request.headers.get("authorization")) is not None:
            known = self.accepts_tokens and bearer == f"Bearer {TOKEN}"
            return JSONResponse({"message": "forbidden" if known else "Unauthorized"}, 403 if known else 401)
        if request.method == "POST":
            return await self._create(request)
        only = request.query_params.get("fieldSelector", "").removeprefix("metadata.name=")
        if "watch" in request.query_params:
            return StreamingResponse(self._watch(kind, only), media_type="application/json")
        self.asked.append(request.url.path)
        if kind in self.hanging:
            await asyncio.Event().wait()
        if kind in self.raw:
            return Response(self.raw[kind], media_type="application/json")
        items = [item for name, item in self.objects[kind].items() if only in {"", name}]
        start, limit = int(request.query_params.get("continue", 0)), int(request.query_params.get("limit", len(items)))
        metadata = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return JSONResponse({"metadata": metadata, "items": items[start : start + limit]})

    async def log(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        assert request.query_params["tailLines"] == "200"
        kept = self.logs.get((request.query_params["container"], request.query_params["previous"]))
        if kept is None:
            return JSONResponse({"message": "previous terminated container not found"}, 400)
        return PlainTextResponse(kept)

    async def token(self, request: Request) -> Response:
        asked = await request.json()
        assert asked["kind"] == "TokenRequest"
        if self.token_status != 201:
            return JSONResponse({"message": "no key"}, self.token_status)
        return JSONResponse(asked | {"status": {"token": TOKEN}}, 201)

    async def config_map(self, request: Request) -> Response:
        key = "{namespace}/{name}".format(**request.path_params)
        if request.method == "GET":
            found = self.config_maps.get(key)
            return JSONResponse({"message": "not found"}, 404) if found is None else JSONResponse(found)
        if self.refusals:
            status, message = self.refusals.pop(0)
            return JSONResponse({"message": message}, status)
        assert request.headers["content-type"] == "application/apply-patch+yaml"
        assert dict(request.query_params) == {"fieldManager": "dayfly", "force": "true"}
        self.config_maps[key] = await request.json()
        return JSONResponse(self.config_maps[key])

    async def one_pod(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.deleted.append((name, request.query_params.get("gracePeriodSeconds")))
        if name not in self.objects["pods"]:
            return JSONResponse({"message": "not found"}, 404)
        self.drop("pods", name)
        return JSONResponse({})

    async def _create(self, request: Request) -> Response:
        item = await request.json()
        if self.refusals:
            status, message = self.refusals.pop(0)
            return self.raw_refusal or JSONResponse({"message": message}, status)
        if request.query_params.get("dryRun") == "All":
            self.tried.append(item)
            return JSONResponse(item, 201)
        if item["metadata"]["name"] in self.objects["pods"]:
            return JSONResponse({"message": "already exists"}, 409)
        self.created.append(item)
        self.put("pods", item | {"status": {"phase": "Pending"}})
        return JSONResponse(item, 201)

    async def _watch(self, kind: str, only: str) -> AsyncIterator[str]:
        self.watches_opened += 1
        if self.expired_watches > 0:
            self.expired_watches -= 1
            yield json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}) + "\n"
            return
        inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        entry = (kind, inbox)
        self._inboxes.append(entry)
        self.watching.set()
        try:
            yield json.dumps({"type": "BOOKMARK", "object": {"metadata": {"name": ""}}}) + "\n"
            while (event := await inbox.get()) is not None:
                if only in {"", event["object"]["metadata"]["name"]}:
                    yield json.dumps(event) + "\n"
        finally:
            self._inboxes.remove(entry)


@asynccontextmanager
async def running_kube_server(folder: Path) -> AsyncIterator[tuple[KubeServer, KubeAccess]]:
    """A server with a PKI as Dayfly issues it, and an administrator's access to it."""
    pki = issue_pki(make_spec(kubernetes=True), datetime.now(UTC))
    for name in ("ca.crt", "apiserver.crt", "apiserver.key"):
        (folder / name).write_text(pki[f"pki/{name}"])
    kube = KubeServer()
    pods = "/api/v1/namespaces/default/pods"
    app = Starlette(
        routes=[
            *kube.any.routes(),
            Route("/healthz", kube.healthz),
            Route("/api/v1/nodes", kube.collection),
            Route("/api/v1/nodes/{name}/proxy/healthz", kube.kubelet),
            Route("/api/v1/namespaces/kube-system/services/{name}/proxy/ready", kube.service),
            Route("/api/v1/pods", kube.collection),
            Route("/api/v1/namespaces/default/serviceaccounts", kube.collection),
            Route("/api/v1/namespaces/default/serviceaccounts/default/token", kube.token, methods=["POST"]),
            Route("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", kube.collection),
            Route(pods, kube.collection, methods=["GET", "POST"]),
            Route("/api/v1/events", kube.collection),
            Route("/api/v1/namespaces/{namespace}/configmaps/{name}", kube.config_map, methods=["GET", "PATCH"]),
            Route("/api/v1/namespaces/{namespace}/pods/{name}/log", kube.log),
            Route(pods + "/{name}", kube.one_pod, methods=["DELETE"]),
        ]
    )
    config = uvicorn.Config(
        app,
        ssl_certfile=folder / "apiserver.crt",
        ssl_keyfile=folder / "apiserver.key",
        ssl_ca_certs=str(folder / "ca.crt"),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server._serve([listening]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        identity = client_identity(pki, "dayfly")
        endpoint = Endpoint("127.0.0.1", listening.getsockname()[1])
        try:
            yield kube, KubeAccess(endpoint, pki["pki/ca.crt"], identity.certificate, identity.key, SERVER_NAME)
        finally:
            kube.cut_watches()
            server.should_exit = True
            await serving
