"""Objects of any kind: server-side apply, look, delete. Their paths come from the API server's discovery.

Not here: the objects that Dayfly itself knows (objects.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import httpx

from dayfly.clock import Clock
from dayfly.domain.addon import identity, title
from dayfly.drivers.bounds import parse_json
from dayfly.drivers.interfaces import KubeAccess, Manifest, OnLate
from dayfly.drivers.kubernetes.fields import clean, mapping, mappings
from dayfly.drivers.kubernetes.http import KubeHttp, Object
from dayfly.drivers.kubernetes.lateness import told
from dayfly.errors import NotUsable

T = TypeVar("T")

_RETRY_SECONDS: Final = 1.0
_MISSING_SECONDS: Final = 60.0
"""So long a kind or a namespace may be unknown: a definition that was applied just now is served a little later."""
_KINDS: Final = 1000
"""Of one group and version."""
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_REFUSED: Final = frozenset({400, 403, 405, 413, 415, 422})
"""Other answers that are no success may change by themselves."""
_RBAC: Final = "rbac.authorization.k8s.io"
_CHILDLESS: Final = frozenset(
    {
        *(("", kind) for kind in ("ConfigMap", "Secret", "ServiceAccount")),
        *((_RBAC, kind) for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")),
        ("networking.k8s.io", "IngressClass"),
    }
)
"""Group and kind of objects without dependents. A foreground deletion of one waits all the same for the garbage
collector, which takes an emulated cluster seconds. Not here: a StorageClass, which may own the volumes of its
provisioner. The class goes after the last of them, and the provisioner after the class."""
_NOT_YET: Final = ("not yet ready", "being terminated")
"""Said with 403 by an API server that starts, and of a namespace that is being deleted."""


class _Again(Exception):
    """No result yet, for a reason that may pass."""

    def __init__(self, problem: str, *, missing: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.missing = problem, missing


class Manifests:
    """The objects of one API server. All calls raise NotUsable."""

    def __init__(self, access: KubeAccess, clock: Clock) -> None:
        self._access, self._clock = access, clock
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    async def apply(self, items: Sequence[Manifest], timeout: float) -> None:
        async def one(http: KubeHttp, item: Manifest) -> None:
            path = await self._path(http, item)
            if path is None:
                raise _Again(f"the API server has no kind {item['kind']} in {item['apiVersion']}", missing=True)
            answer = await (_merge(http, path, item) if _is_of_aggregator(item) else http.apply(path, item))
            if not answer.is_success:
                raise _problem(answer, f"{title(item)} was refused")
            applied = parse_json(answer.content)
            if isinstance(applied, dict) and "deletionTimestamp" in mapping(applied, "metadata"):
                # It goes, whatever was applied: it is created anew afterwards.
                raise _Again("it is being deleted")

        await self._each(items, one, timeout, "was not accepted")

    async def labels(self, items: Sequence[Manifest], timeout: float) -> tuple[Mapping[str, str] | None, ...]:
        async def one(http: KubeHttp, item: Manifest) -> Mapping[str, str] | None:
            found = await self._get(http, item)
            return None if found is None else mapping(found, "metadata", "labels")

        return tuple(await self._each(items, one, timeout, "cannot be looked at"))

    async def delete(
        self, items: Sequence[Manifest], label: tuple[str, str], timeout: float, on_late: OnLate | None = None
    ) -> None:
        async def one(http: KubeHttp, item: Manifest) -> None:
            found = await self._get(http, item)
            if found is None:
                return
            metadata = mapping(found, "metadata")
            if mapping(metadata, "labels").get(label[0]) != label[1]:
                return  # another object of this name
            if "deletionTimestamp" not in metadata:
                path = await self._path(http, item)
                body = {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "propagationPolicy": "Background" if identity(item)[:2] in _CHILDLESS else "Foreground",
                    "preconditions": {"uid": metadata.get("uid")},
                }
                answer = await http.request("DELETE", str(path), body=body)
                if not answer.is_success:
                    raise _problem(answer, f"the deletion of {title(item)} was refused")
            raise _Again(_leaving(metadata))

        await self._each(items, one, timeout, "was not deleted", on_late)

    async def _each(
        self,
        items: Sequence[Manifest],
        call: Callable[[KubeHttp, Manifest], Awaitable[T]],
        timeout: float,
        failed: str,
        on_late: OnLate | None = None,
    ) -> list[T]:
        """`call` with each of `items`, one after the other, repeated while it raises _Again."""
        results: list[T] = []
        if not items:
            return results
        item, problem = items[0], "no answer"
        try:
            async with (
                asyncio.timeout(timeout),
                told(self._clock, on_late, lambda: f"{title(item)}: {problem}"),
                KubeHttp(self._access, self._clock) as http,
            ):
                for item in items:
                    problem, began = "no answer", self._clock.monotonic()
                    while True:
                        try:
                            results.append(await call(http, item))
                            break
                        except _Again as again:
                            problem = again.problem
                            if again.missing and self._clock.monotonic() - began > _MISSING_SECONDS:
                                raise NotUsable(f"{title(item)} was refused: {problem}") from again
                        except (httpx.HTTPError, ValueError) as error:
                            problem = clean(str(error) or type(error).__name__)
                        await self._clock.sleep(_RETRY_SECONDS)
        except TimeoutError as error:
            raise NotUsable(f"{title(item)} {failed} within {timeout:g} s: {problem}") from error
        return results

    async def _get(self, http: KubeHttp, item: Manifest) -> Object | None:
        """The object as it is; None: it does not exist, nor perhaps its kind."""
        path = await self._path(http, item)
        if path is None:
            return None
        answer = await http.request("GET", path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if not answer.is_success:
            raise _problem(answer, f"{title(item)} is not shown")
        found = parse_json(answer.content)
        return found if isinstance(found, dict) else {}

    async def _path(self, http: KubeHttp, item: Manifest) -> str | None:
        """None: the API server does not have this kind."""
        version, kind = item["apiVersion"], item["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        known = self._plurals.get((version, kind))
        if known is None:
            answer = await http.request("GET", root)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            if not answer.is_success:
                raise _problem(answer, f"the kinds of {version} are not shown")
            listed = parse_json(answer.content)
            for one in mappings(listed if isinstance(listed, dict) else {}, "resources", _KINDS):
                if "/" not in (plural := str(one.get("name", "/"))):
                    self._plurals[version, str(one.get("kind"))] = plural, one.get("namespaced") is True
            known = self._plurals.get((version, kind))
            if known is None:
                return None
        plural, namespaced = known
        metadata = item["metadata"]
        where = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{root}{where}/{plural}/{metadata['name']}"


def _leaving(metadata: Object) -> str:
    """Why a deleted object is still there."""
    finalizers = metadata.get("finalizers")
    if not isinstance(finalizers, list) or not finalizers:
        return "it is being deleted"
    others = ["objects that it owns" if one == "foregroundDeletion" else clean(str(one)) for one in finalizers]
    return f"it is being deleted, and waits for {', '.join(others)}"


def _is_of_aggregator(item: Manifest) -> bool:
    """Kubernetes 1.20 ends a server-side apply of such an object with a panic: `FieldManager must be installed`."""
    return str(item["apiVersion"]).startswith("apiregistration.k8s.io/")


async def _merge(http: KubeHttp, path: str, item: Manifest) -> httpx.Response:
    """The answer to an update of the object at `path`, or to its creation. A field that `item` lacks stays as it is."""
    answer = await http.request("PATCH", path, body=item, headers=_MERGE)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return await http.request("POST", path.rpartition("/")[0], body=item)
    return answer


def _problem(answer: httpx.Response, refused: str) -> Exception:
    """What to raise for an answer that is no success: a refusal, or a problem that may pass."""
    try:
        said = parse_json(answer.content)
    except ValueError:
        said = None
    message = said.get("message", answer.text) if isinstance(said, dict) else answer.text
    words = clean(str(message)) or f"status {answer.status_code}"
    if answer.status_code in _REFUSED and not any(one in words for one in _NOT_YET):
        return NotUsable(f"{refused}: {words}", evidence={"answer": words})
    return _Again(words, missing=answer.status_code == httpx.codes.NOT_FOUND)
