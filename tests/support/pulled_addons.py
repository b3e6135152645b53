"""A pulled add-on of the tests' own: its manifest, its definition, and a server that has the manifest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from dayfly.addon_manifests import sha256
from dayfly.domain.addon import AddonDefinition
from dayfly.domain.addon_source import KubernetesRange, PinnedImage, PinnedManifest, PulledSource

DIGEST = "sha256:" + "5a" * 32
URL = "https://juice.example/v1/juice.yaml"
IMAGE = "juice/press:v1"
PINNED = f"docker.io/juice/press@{DIGEST}"

MANIFEST = b"""\
apiVersion: juice.example/v1
kind: Juice
metadata: {name: orange, namespace: juice}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: juice}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: press, namespace: juice, creationTimestamp: null, labels: {app: press}}
spec:
  template:
    spec:
      initContainers: [{name: wash, image: "juice/press:v1"}]
      containers: [{name: press, image: "juice/press:v1", env: [{name: WORKER_IMAGE, value: "juice/press:v1"}]}]
status: {replicas: 0}
---
# Nothing but this comment.
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Service, metadata: {name: press, namespace: juice}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: recipe, namespace: juice}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: press}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: juices.juice.example}
spec:
  versions:
    - schema:
        openAPIV3Schema:
          description: A juice.
          properties: {description: {type: string, description: What it tastes of.}}
status: {conditions: []}
---
apiVersion: v1
kind: Namespace
metadata: {name: juice}
"""


def make_juice(manifest: bytes = MANIFEST, name: str = "juice", *more: PinnedManifest) -> AddonDefinition:
    """An add-on with this manifest."""
    pinned = PinnedManifest(url=URL, sha256=sha256(manifest))
    source = PulledSource(
        version="v1.2.3",
        kubernetes=KubernetesRange(oldest="1.19", newest="1.21"),
        images=(PinnedImage(name=IMAGE, digest=DIGEST),),
        manifests=(pinned, *more),
    )
    return AddonDefinition(name=name, description="Juice.", recipes=("k8s-test",), images=(PINNED,), pulled=source)


class _Local(httpx.HTTPTransport):
    """Sends every request to a port of this machine, without TLS: manifests have https URLs only."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return super().handle_request(request)


@contextmanager
def serving(content: bytes, *, status: int = 200, length: int | None = None) -> Iterator[httpx.BaseTransport]:
    """A server that answers everything with `content`, and says that it has `length` bytes; how to reach the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield _Local(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
