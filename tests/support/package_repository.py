"""A package repository on loopback: an HTTP server with the indices that a test gives it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def index(*versions: str, package: str = "kubeadm") -> str:
    return "".join(f"Package: {package}\nVersion: {version}\nArchitecture: amd64\n\n" for version in versions)


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that went away is no failure of the server."""


class Repository:
    """A package repository on loopback. `files`: a path → its text; any other path is answered with `fallback`."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.fallback = 404
        self.asked: list[str] = []
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.asked.append(self.path)
                text = repository.files.get(self.path)
                self.send_response(200 if text is not None else repository.fallback)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                """Not on the test's output."""

        self.server = Server(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/k8s"


@contextmanager
def package_repository() -> Iterator[Repository]:
    """A repository that serves until the end of the context."""
    repository = Repository()
    thread = threading.Thread(target=repository.server.serve_forever)
    thread.start()
    try:
        yield repository
    finally:
        repository.server.shutdown()
        thread.join()
        repository.server.server_close()
