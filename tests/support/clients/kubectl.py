"""kubectl, called as a program. It reads `tls-server-name`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.clients.calls import NAMESPACE, REQUEST_SECONDS

_DATA = "jsonpath={.data}{'\\n'}"


class KubectlError(Exception):
    """kubectl's exit code is not 0; the message is its output for errors."""


class Kubectl:
    """The kubectl at `program`."""

    def __init__(self, kubeconfig: Path, program: str) -> None:
        self._argv = [program, f"--kubeconfig={kubeconfig}", f"--request-timeout={REQUEST_SECONDS}s"]

    def version(self) -> str:
        # Newer versions warn about the age of the server on the other stream.
        version: str = json.loads(self._run("version", "-o", "json"))["serverVersion"]["gitVersion"]
        return version

    def nodes(self) -> set[str]:
        return _names(self._run("get", "nodes", "-o", "name"))

    def create(self, name: str, data: Mapping[str, str]) -> None:
        values = [f"--from-literal={key}={value}" for key, value in data.items()]
        self._run("create", "configmap", name, f"--namespace={NAMESPACE}", *values)

    def read(self, name: str) -> dict[str, str]:
        return _data(self._run("get", "configmap", name, f"--namespace={NAMESPACE}", "-o", _DATA))

    def patch(self, name: str, data: Mapping[str, str]) -> None:
        patch = json.dumps({"data": dict(data)})
        self._run("patch", "configmap", name, f"--namespace={NAMESPACE}", f"--patch={patch}")

    def watch(self, name: str, change: Callable[[], None]) -> dict[str, str]:
        argv = [*self._argv, "get", "configmap", name, f"--namespace={NAMESPACE}", "--watch", "-o", _DATA]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            try:
                for number in range(2):
                    line = watching.stdout.readline()
                    if not line:
                        raise KubectlError(watching.stderr.read())
                    if number == 0:
                        change()
            finally:
                watching.terminate()
        return _data(line)

    def delete(self, name: str) -> None:
        self._run("delete", "configmap", name, f"--namespace={NAMESPACE}")

    def pods(self, namespace: str, labels: str) -> set[str]:
        return _names(self._run("get", "pods", f"--namespace={namespace}", f"--selector={labels}", "-o", "name"))

    def log(self, namespace: str, pod: str) -> str:
        return self._run("logs", f"--namespace={namespace}", pod)

    def execute(self, pod: str, command: Sequence[str]) -> str:
        return self._run("exec", f"--namespace={NAMESPACE}", pod, "--", *command)

    def is_not_found(self, error: Exception) -> bool:
        return isinstance(error, KubectlError) and "(NotFound)" in str(error)

    def close(self) -> None:
        pass

    def _run(self, *arguments: str) -> str:
        argv = [*self._argv, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=3 * REQUEST_SECONDS, check=False)
        if done.returncode != 0:
            raise KubectlError(done.stderr)
        return done.stdout


def _names(lines: str) -> set[str]:
    return {line.partition("/")[2] for line in lines.split()}


def _data(text: str) -> dict[str, str]:
    found: Any = json.loads(text)
    assert isinstance(found, dict)
    return found
