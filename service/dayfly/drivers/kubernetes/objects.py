"""What the API server's objects say, as Dayfly's values; and the manifest of a pod."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import httpx

from dayfly.drivers.bounds import MalformedAnswer, parse_json
from dayfly.drivers.interfaces import ConfigMap, KubeNode, KubePod
from dayfly.drivers.kubernetes.fields import clean, mapping, number, reason
from dayfly.drivers.kubernetes.http import Object
from dayfly.errors import NodeNotReady, NotUsable

_OTHER_FORM: Final = (AttributeError, KeyError, TypeError, ValueError)
_WORKLOAD: Final = re.compile(r"/apis/apps/v1/namespaces/[^/]+/(deployments|daemonsets|statefulsets)/[^/]+")
_RESOLUTION_SECONDS: Final = 1.0
"""Of a condition's times, and of the API server's own time, which is rounded up."""


def refusal(answer: httpx.Response) -> str | None:
    """Why the API server takes no pods; None also where a policy or webhook of the cluster's user refuses this one."""
    if answer.is_success or answer.status_code == httpx.codes.CONFLICT:
        return None
    said = answer.text
    if answer.status_code == httpx.codes.FORBIDDEN and re.search("service ?account|API token", said):
        return said  # admission waits for the controller manager
    if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR and "webhook" in said:
        return None
    policy = answer.is_client_error and answer.status_code not in {
        httpx.codes.UNAUTHORIZED,
        httpx.codes.NOT_FOUND,
        httpx.codes.TOO_MANY_REQUESTS,
    }
    return None if policy else said


def is_workload(path: str) -> bool:
    """Whether a path of the API server is that of a Deployment, a DaemonSet or a StatefulSet."""
    return _WORKLOAD.fullmatch(path) is not None


def why_unavailable(workload: object) -> str | None:
    """Why a workload is not available in its present generation; None: it is."""
    item = workload if isinstance(workload, dict) else {}
    status, spec = mapping(item, "status"), mapping(item, "spec")
    if number(status, "observedGeneration") < max(number(mapping(item, "metadata"), "generation"), 1):
        return "its controller has not seen it yet"
    if item.get("kind") == "DaemonSet":
        wanted, updated = number(status, "desiredNumberScheduled"), number(status, "updatedNumberScheduled")
        available = number(status, "numberAvailable")
    else:
        wanted = number(spec, "replicas") if "replicas" in spec else 1
        updated = number(status, "updatedReplicas")
        # Kubernetes 1.20 has no availableReplicas of a StatefulSet.
        available = number(status, "readyReplicas" if item.get("kind") == "StatefulSet" else "availableReplicas")
    if min(updated, available) >= wanted:
        return None
    return f"{available} of {wanted} pods are available, {updated} of the present generation"


def token(content: bytes) -> str:
    """The token in the answer to a TokenRequest. Raises ValueError."""
    try:
        found = parse_json(content)["status"]["token"]  # type: ignore[index]
    except (LookupError, TypeError) as error:
        raise MalformedAnswer("the API server's answer has no token") from error
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        raise MalformedAnswer("the API server's token is not one")
    return found


def renewal_age(lease: Object, now: datetime) -> float | None:
    """Seconds since a lease was renewed; None: never."""
    try:
        return (now - datetime.fromisoformat(lease["spec"]["renewTime"])).total_seconds()
    except _OTHER_FORM:
        return None


def node(item: Object, now: datetime | None = None, renewed: float | None = None) -> KubeNode:
    """`now`: the API server's time; `renewed`: the age of its lease in seconds. Raises NodeNotReady."""
    try:
        status: Object = item.get("status", {})
        conditions = status.get("conditions") or []
        boot_id = _text(mapping(status, "nodeInfo").get("bootID"))
        name, age = clean(item["metadata"]["name"]), 0.0
        ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
        if ready is None:
            return KubeNode(name, ready=False, reason="no status yet", boot_id=boot_id, renewal_age=renewed)
        if now is not None and (changed := ready.get("lastTransitionTime")) is not None:
            age = (now - datetime.fromisoformat(changed)).total_seconds() - 2 * _RESOLUTION_SECONDS
        return KubeNode(name, ready["status"] == "True", reason(ready), boot_id, age, renewed)
    except _OTHER_FORM as error:
        raise NodeNotReady("the API server describes a node in an unknown form") from error


def pod(item: Object) -> KubePod:
    """Raises NotUsable."""
    try:
        status = item.get("status", {})
        return KubePod(
            name=clean(item["metadata"]["name"]),
            namespace=clean(item["metadata"]["namespace"]),
            phase=_text(status.get("phase")) or "Unknown",
            node=_text(item["spec"].get("nodeName")) or None,
            reason=_pod_reason(status),
        )
    except _OTHER_FORM as error:
        raise NotUsable("the API server describes a pod in an unknown form") from error


def _pod_reason(status: Object) -> str:
    """Why a pod does not run, or how it ended: from its containers, then from its conditions."""
    for container in status.get("containerStatuses") or ():
        state: dict[str, Any] = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if detail := state.get(kind):
                code = f"exit code {number(detail, 'exitCode')}" if "exitCode" in detail else ""
                return ": ".join(filter(None, (_text(detail.get("reason")), code, _text(detail.get("message")))))
    for condition in status.get("conditions") or ():
        if condition["status"] == "False" and condition.get("message"):
            return f"{_text(condition.get('reason', condition['type']))}: {_text(condition['message'])}"
    return _text(status.get("message"))


def _text(value: object) -> str:
    """One bounded line; "" for what is no text."""
    return clean(value) if isinstance(value, str) else ""


def pod_manifest(name: str, image: str, argv: Sequence[str], *, token: bool = False) -> Object:
    """A pod that runs `argv` once; with the token of its service account, if `token`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "dayfly"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": token,
            "enableServiceLinks": False,
            # The pod proves that nodes run pods; the taints of control planes do not matter.
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": list(argv)}],
        },
    }


def config_map_path(wanted: ConfigMap) -> str:
    return f"/api/v1/namespaces/{wanted.namespace}/configmaps/{wanted.name}"


def data_of(content: bytes) -> object:
    """The data of the ConfigMap in an answer; None: it is none."""
    try:
        return parse_json(content)["data"]  # type: ignore[index]
    except _OTHER_FORM:
        return None
