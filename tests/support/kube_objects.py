"""Objects of any kind in the fake API server: discovery, server-side apply, deletion that takes a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_KINDS = {
    "/api/v1": [
        ("configmaps", "ConfigMap", True),
        ("configmaps/status", "ConfigMap", True),
        ("namespaces", "Namespace", False),
    ],
    "/apis/apps/v1": [("daemonsets", "DaemonSet", True), ("daemonsets/status", "DaemonSet", True)],
    "/apis/rbac.authorization.k8s.io/v1": [("clusterroles", "ClusterRole", False)],
    "/apis/apiregistration.k8s.io/v1": [("apiservices", "APIService", False)],
    "/apis/storage.k8s.io/v1": [("storageclasses", "StorageClass", False)],
}
_API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


@dataclass
class KubeObjects:
    """`objects` by path. `answers`: status and message of the next applies and deletions. All requests: `asked`."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[tuple[int, str]] = field(default_factory=list)
    lingers: int = 0
    """How many looks a deleted object is still there."""
    late_kinds: int = 0
    """How many discoveries know no kind."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    deletions: list[dict[str, Any]] = field(default_factory=list)
    _leaving: dict[str, int] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        roots = [Route(root, self._discover) for root in _KINDS]
        paths = (
            "/api/v1/namespaces/{name}",
            "/api/v1/namespaces/shop/configmaps/{name}",
            "/apis/apps/v1/namespaces/shop/daemonsets/{name}",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}",
            "/apis/storage.k8s.io/v1/storageclasses/{name}",
        )
        methods = ["GET", "PATCH", "DELETE"]
        api_services = Route(_API_SERVICES, self._create, methods=["POST"])
        return [
            *roots,
            *(Route(path, self._object, methods=methods) for path in (*paths, f"{_API_SERVICES}/{{name}}")),
            api_services,
        ]

    async def _discover(self, request: Request) -> Response:
        if self.late_kinds:
            self.late_kinds -= 1
            return JSONResponse({"resources": []})
        kinds = _KINDS[request.url.path]
        return JSONResponse({"resources": [{"name": n, "kind": k, "namespaced": in_one} for n, k, in_one in kinds]})

    async def _object(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append((request.method, request.path_params["name"]))
        if path in self._leaving:
            self._leaving[path] -= 1
            if self._leaving[path] < 0:
                del self._leaving[path], self.objects[path]
        if request.method != "GET" and self.answers:
            status, message = self.answers.pop(0)
            return JSONResponse({"message": message}, status)
        if request.method == "PATCH" and path.startswith(_API_SERVICES):
            return await self._merge(request, path)
        if request.method == "PATCH":
            return await self._apply(request, path)
        if path not in self.objects:
            return JSONResponse({"message": "not found"}, 404)
        if request.method == "DELETE":
            self.deletions.append(await request.json())
            self.objects[path]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self._leaving[path] = self.lingers
        return JSONResponse(self.objects[path])

    async def _create(self, request: Request) -> Response:
        item = await request.json()
        self.asked.append((request.method, item["metadata"]["name"]))
        self.objects[f"{request.url.path}/{item['metadata']['name']}"] = item
        return JSONResponse(item, 201)

    async def _merge(self, request: Request, path: str) -> Response:
        """As Kubernetes 1.20, which panics in a server-side apply of an APIService."""
        if request.headers["content-type"] != "application/merge-patch+json":
            raise RuntimeError("FieldManager must be installed to run apply")
        if path not in self.objects:
            return JSONResponse({"message": "not found"}, 404)
        item, known = await request.json(), self.objects[path]
        merged = {name: {**known.get(name, {}), **item[name]} for name in ("metadata", "spec") if name in item}
        self.objects[path] = known | merged
        return JSONResponse(self.objects[path])

    async def _apply(self, request: Request, path: str) -> Response:
        assert request.headers["content-type"] == "application/apply-patch+yaml"
        assert dict(request.query_params) == {"fieldManager": "dayfly", "force": "true"}
        item = await request.json()
        known = self.objects.get(path, {"metadata": {"uid": f"uid-of-{request.path_params['name']}"}})
        self.objects[path] = item | {"metadata": {**known["metadata"], **item["metadata"]}}
        return JSONResponse(self.objects[path])
