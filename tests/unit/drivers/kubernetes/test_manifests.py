"""Objects of any kind over HTTP: apply, look, delete, and what an API server answers instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dayfly.drivers.interfaces import KubeAccess
from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.errors import NotUsable
from tests.support.clock import FakeClock
from tests.support.kube_objects import KubeObjects
from tests.support.kube_server import running_kube_server

LABEL = ("dayfly.addon", "tea")


def role(name: str = "reads") -> dict[str, Any]:
    metadata = {"name": name, "labels": dict([LABEL])}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata}


def data(name: str = "pot", **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": labels or dict([LABEL])}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


def daemon_set() -> dict[str, Any]:
    metadata = {"name": "kettle", "namespace": "shop", "labels": dict([LABEL])}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata}


def storage_class() -> dict[str, Any]:
    metadata = {"name": "shelf", "labels": dict([LABEL])}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata}


class Impatient(FakeClock):
    """The limit of a call is reached at its pause of this number."""

    def __init__(self, pauses: int) -> None:
        super().__init__()
        self._pauses = pauses

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == self._pauses:
            raise TimeoutError


class Hasty(FakeClock):
    """Twenty times as fast as real time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(20 * seconds)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[KubeObjects, KubeAccess]]:
    async with running_kube_server(tmp_path) as (server, access):
        yield server.any, access


@pytest.fixture
def kube() -> KubeClient:
    return KubeClient(clock=FakeClock())


async def test_objects_are_applied_in_order_at_their_paths(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    await kube.apply(access, [role(), data()], timeout=120)
    await kube.apply(access, [role(), data()], timeout=120)
    assert server.asked == [("PATCH", "reads"), ("PATCH", "pot")] * 2
    assert set(server.objects) == {
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/reads",
        "/api/v1/namespaces/shop/configmaps/pot",
    }
    other = {"apiVersion": "example.org/v1", "kind": "Cup", "metadata": {"name": "gone"}}
    found = await kube.labels(access, [role(), data("jug"), data(), other], timeout=120)
    assert found == (dict([LABEL]), None, dict([LABEL]), None)


async def test_a_namespace_of_the_objects_comes_first_and_goes_last(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": dict([LABEL])}}
    daemons = data("cups") | {"apiVersion": "apps/v1", "kind": "DaemonSet"}
    items = [namespace, data(), daemons]
    await kube.apply(access, items, timeout=120)
    assert list(server.objects) == [
        "/api/v1/namespaces/shop",
        "/api/v1/namespaces/shop/configmaps/pot",
        "/apis/apps/v1/namespaces/shop/daemonsets/cups",
    ]
    await kube.delete(access, items[::-1], label=LABEL, timeout=120)
    assert [name for method, name in server.asked if method == "DELETE"] == ["cups", "pot", "shop"]
    assert server.objects == {}


@pytest.mark.parametrize("status", [400, 403, 413, 422])
async def test_a_refusal_is_told_at_once(kube: KubeClient, served: tuple[KubeObjects, KubeAccess], status: int) -> None:
    server, access = served
    server.answers = [(status, "admission webhook\nsays no")]
    with pytest.raises(NotUsable) as refused:
        await kube.apply(access, [data(), role()], timeout=120)
    assert refused.value.message == "ConfigMap shop/pot was refused: admission webhook says no"
    assert refused.value.evidence == {"answer": "admission webhook says no"}
    assert server.asked == [("PATCH", "pot")]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "not yet ready to handle request"),
        (403, "unable to create new content in namespace shop because it is being terminated"),
        (404, 'namespaces "shop" not found'),
        (409, "conflict"),
        (429, "slow down"),
        (500, "failed calling webhook"),
        (503, "starting"),
    ],
)
async def test_an_answer_that_passes_is_waited_for(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess], status: int, words: str
) -> None:
    server, access = served
    server.answers = [(status, words)] * 3
    await kube.apply(access, [data()], timeout=120)
    assert server.asked == [("PATCH", "pot")] * 4


async def test_an_answer_that_does_not_pass_is_in_the_error(served: tuple[KubeObjects, KubeAccess]) -> None:
    server, access = served
    server.answers = [(503, "starting")] * 9
    with pytest.raises(NotUsable, match=r"^ConfigMap shop/pot was not accepted within 120 s: starting$"):
        await KubeClient(clock=Impatient(3)).apply(access, [data()], timeout=120)


async def test_a_kind_that_was_defined_just_now_is_waited_for_but_not_for_long(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    server.late_kinds = 3
    await kube.apply(access, [data()], timeout=120)
    unknown = data() | {"kind": "Cup"}
    with pytest.raises(NotUsable, match=r"^Cup shop/pot was refused: the API server has no kind Cup in v1$"):
        await KubeClient(clock=Hasty()).apply(access, [unknown], timeout=600)


async def test_an_object_that_is_going_is_created_anew(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    await kube.apply(access, [data()], timeout=120)
    server.lingers = 5
    with pytest.raises(NotUsable, match=r"was not deleted within 120 s: it is being deleted"):
        await KubeClient(clock=Impatient(2)).delete(access, [data()], label=LABEL, timeout=120)
    await kube.apply(access, [data()], timeout=120)
    (left,) = server.objects.values()
    assert "deletionTimestamp" not in left["metadata"]


async def test_objects_are_deleted_with_their_dependents_until_they_are_gone(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    await kube.apply(access, [role(), data()], timeout=120)
    server.lingers = 2
    server.asked.clear()
    await kube.delete(access, [data(), role(), data("jug")], label=LABEL, timeout=120)
    assert server.objects == {}
    deletes = [name for method, name in server.asked if method == "DELETE"]
    assert deletes == ["pot", "reads"]
    assert server.asked.index(("DELETE", "reads")) > max(
        index for index, asked in enumerate(server.asked) if asked == ("GET", "pot")
    )
    assert server.deletions[0]["preconditions"] == {"uid": "uid-of-pot"}


async def test_only_what_may_have_dependents_waits_for_the_garbage_collector(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    server, access = served
    # A provisioner's volumes may belong to their StorageClass.
    items = [data(), role(), daemon_set(), storage_class()]
    await kube.apply(access, items, timeout=120)
    await kube.delete(access, items, label=LABEL, timeout=120)
    waits = ["Background", "Background", "Foreground", "Foreground"]
    assert [one["propagationPolicy"] for one in server.deletions] == waits


@pytest.mark.parametrize(
    ("finalizers", "words"),
    [
        (["foregroundDeletion"], ", and waits for objects that it owns"),
        (["kubernetes.io/pvc-protection"], ", and waits for kubernetes.io/pvc-protection"),
        ([], ""),
        ("none", ""),
    ],
)
async def test_the_error_names_what_a_deletion_waits_for(
    served: tuple[KubeObjects, KubeAccess], finalizers: object, words: str
) -> None:
    server, access = served
    await KubeClient().apply(access, [data()], timeout=120)
    server.lingers = 99
    (pot,) = server.objects.values()
    pot["metadata"]["finalizers"] = finalizers
    with pytest.raises(NotUsable) as failed:
        await KubeClient(clock=Impatient(3)).delete(access, [data()], label=LABEL, timeout=120)
    assert failed.value.message == f"ConfigMap shop/pot was not deleted within 120 s: it is being deleted{words}"


async def test_objects_of_others_are_not_deleted(kube: KubeClient, served: tuple[KubeObjects, KubeAccess]) -> None:
    server, access = served
    theirs = data(app="shop")
    await kube.apply(access, [theirs], timeout=120)
    await kube.delete(access, [data()], label=LABEL, timeout=120)
    assert ("DELETE", "pot") not in server.asked
    assert len(server.objects) == 1


async def test_a_server_that_is_away_has_no_objects_to_show(kube: KubeClient, tmp_path: Path) -> None:
    async with running_kube_server(tmp_path) as (_, access):
        pass
    with pytest.raises(NotUsable, match=r"ConfigMap shop/pot cannot be looked at within 120 s: "):
        await KubeClient(clock=Impatient(2)).labels(access, [data()], timeout=120)
    assert await KubeClient().labels(access, [], timeout=120) == ()


async def test_an_api_service_is_created_and_then_merged(
    kube: KubeClient, served: tuple[KubeObjects, KubeAccess]
) -> None:
    """Kubernetes 1.20 has no server-side apply of APIServices. What the add-on's program wrote stays."""
    server, access = served
    metadata = {"name": "v1.tea", "labels": dict([LABEL])}
    item = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": {"a": "b"}}
    await kube.apply(access, [item], timeout=120)
    (path,) = server.objects
    server.objects[path]["spec"]["caBundle"] = "program's"
    await kube.apply(access, [item], timeout=120)
    assert server.asked == [("PATCH", "v1.tea"), ("POST", "v1.tea"), ("PATCH", "v1.tea")]
    assert server.objects[path]["spec"] == {"a": "b", "caBundle": "program's"}


async def test_the_path_of_a_workload_is_ready_when_the_workload_is_available(
    served: tuple[KubeObjects, KubeAccess],
) -> None:
    objects, access = served
    path = "/apis/apps/v1/namespaces/shop/daemonsets/pots"
    status = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}
    objects.objects[path] = {"kind": "DaemonSet", "metadata": {"generation": 1}, "status": status}
    with pytest.raises(NotUsable) as late:
        await KubeClient(clock=Impatient(1)).wait_paths(access, [path], timeout=60)
    assert late.value.evidence[path] == "0 of 1 pods are available, 1 of the present generation"
    objects.objects[path]["status"] = {**status, "numberAvailable": 1}
    await KubeClient(clock=Impatient(1)).wait_paths(access, [path], timeout=60)


async def test_a_long_wait_tells_what_is_late(served: tuple[KubeObjects, KubeAccess]) -> None:
    objects, access = served
    path = "/apis/apps/v1/namespaces/shop/daemonsets/pots"
    status = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}
    objects.objects[path] = {"kind": "DaemonSet", "metadata": {"generation": 1}, "status": status}
    told: list[str] = []

    def mend(sentence: str) -> None:
        told.append(sentence)
        if "0 of 1 pods" in sentence:
            objects.objects[path]["status"] = {**status, "numberAvailable": 1}

    await KubeClient(clock=FakeClock()).wait_paths(access, [path], timeout=60, on_late=mend)
    assert told[-1] == f"{path} is not ready: 0 of 1 pods are available, 1 of the present generation"


async def test_a_deletion_tells_what_keeps_an_object(served: tuple[KubeObjects, KubeAccess]) -> None:
    objects, access = served
    await KubeClient().apply(access, [data()], timeout=120)
    (path,) = objects.objects
    kept = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["shop/counted"]}
    objects.objects[path]["metadata"] |= kept
    told: list[str] = []

    def mend(sentence: str) -> None:
        told.append(sentence)
        if "counted" in sentence:
            del objects.objects[path]

    await KubeClient(clock=FakeClock()).delete(access, [data()], label=LABEL, timeout=60, on_late=mend)
    assert told[-1] == "ConfigMap shop/pot: it is being deleted, and waits for shop/counted"
