"""Add-ons over HTTP: the list, at creation, by PATCH, in templates and pools."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dayfly.domain.addon import AddonError
from dayfly.domain.addon_source import KubernetesRange
from dayfly.domain.cluster.model import NewEvent
from dayfly.store import Store
from dayfly.vocabulary import AddonState
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.pulled_addons import make_juice

URL = "/v1/clusters/demo"


async def create(http: httpx.AsyncClient, *addons: str, image: str = "k8s", **body: object) -> httpx.Response:
    return await http.post("/v1/clusters", json={"name": "demo", "image": image, "addons": addons, **body})


async def shown(http: httpx.AsyncClient) -> list[tuple[str, str, Any]]:
    cluster = (await http.get(URL)).json()
    return [(one["name"], one["state"], one["error"]) for one in cluster["addons"]]


async def test_the_known_addons_are_listed_by_name(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/addons")
    assert answer.status_code == 200
    baked = {"source": "baked", "version": None, "available": True, "unavailable_because": None}
    assert answer.json() == {
        "addons": [
            {"name": "far", "description": "Far for all.", "recipes": ["k8s-other"], "needs": [], **baked},
            {
                "name": "juice",
                "description": "Juice.",
                "recipes": ["k8s-test"],
                "needs": [],
                "source": "pulled",
                "version": "v1.2.3",
                "available": False,
                "unavailable_because": "run `dayfly addon fetch juice`",
            },
            {"name": "milk", "description": "Milk for all.", "recipes": ["k8s-test"], "needs": ["tea"], **baked},
            {"name": "tea", "description": "Tea for all.", "recipes": ["k8s-test"], "needs": [], **baked},
        ]
    }


@pytest.mark.parametrize("path", ["/v1/clusters", "/v1/templates", "/v1/pools"])
async def test_an_addon_that_is_not_available_is_refused_with_what_is_missing(
    http: httpx.AsyncClient, path: str
) -> None:
    more = {"name": "ci", "size": 1} if path == "/v1/pools" else {}
    answer = await http.post(path, json={"image": "k8s", "addons": ["tea", "juice"], **more})
    problem = check_problem(answer, 422, "addon_unavailable")
    assert problem["detail"] == "addons: juice is not available: run `dayfly addon fetch juice`"


async def test_a_pulled_addon_is_one_like_others_once_it_is_available(
    http: httpx.AsyncClient, worker: Worker, store: Store, infrastructure: Infrastructure
) -> None:
    await create(http)
    await worker.tend()
    problem = check_problem(await http.patch(URL, json={"addons": ["juice"]}), 422, "addon_unavailable")
    assert "dayfly addon fetch juice" in problem["detail"]
    infrastructure.no_juice = None
    assert (await http.get("/v1/addons")).json()["addons"][1]["available"] is True
    await http.patch(URL, json={"addons": ["juice"]})
    await worker.tend()
    assert await shown(http) == [("juice", "ready", None)]
    (addon,) = (await store.clusters.get("demo")).spec.addons
    assert (len(addon.objects), addon.objects[0]["kind"]) == (8, "Namespace")


async def test_a_pulled_addon_is_for_some_versions_of_kubernetes(store: Store) -> None:
    old = make_juice()
    assert old.pulled is not None
    versions = KubernetesRange(oldest="1.21", newest="1.22")
    newer = old.model_copy(update={"pulled": old.pulled.model_copy(update={"kubernetes": versions})})
    services = Infrastructure(no_juice=None).services(store, addons={"juice": newer})
    async with ApiHttp(services) as http:
        problem = check_problem(await create(http, "juice"), 422, "invalid_request")
    assert problem["detail"] == "addons: juice v1.2.3 is for Kubernetes 1.21 to 1.22, not v1.20.2"


async def test_a_cluster_gets_addons_and_what_they_need(http: httpx.AsyncClient, worker: Worker, store: Store) -> None:
    made = await create(http, "milk")
    assert made.status_code == 202, made.text
    pending = [{"name": name, "state": "pending", "error": None} for name in ("tea", "milk")]
    assert made.json()["addons"] == pending
    assert (await http.get("/v1/clusters")).json()["clusters"][0]["addons"] == pending
    await worker.tend()
    assert await shown(http) == [("tea", "ready", None), ("milk", "ready", None)]
    spec = (await store.clusters.get("demo")).spec
    assert [len(addon.objects) for addon in spec.addons] == [2, 2]


async def test_a_dry_run_names_all_addons(http: httpx.AsyncClient) -> None:
    body = {"image": "k8s", "addons": ["milk"]}
    answer = await http.post("/v1/clusters", params={"dry_run": True}, json=body)
    assert answer.json()["addons"] == ["tea", "milk"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"addons": ["coffee"]}, "addons: there is no add-on 'coffee'; there are: far, juice, milk, tea"),
        ({"addons": ["far"]}, "addons: far runs on images of k8s-other, not on those of k8s-test"),
        ({"addons": ["tea"], "image": "bare"}, "addons: an image without Kubernetes has none"),
        ({"addons": ["tea"], "readiness": "booted"}, "addons: a cluster that is ready when it is booted has none"),
        ({"addons": ["tea", "tea"]}, "an add-on is named twice"),
        ({"addons": ["../tea"]}, "addons.0"),
        ({"addons": "tea"}, "addons"),
        ({"addons": None}, "addons"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/clusters", "/v1/templates", "/v1/pools"])
async def test_what_a_cluster_cannot_have_is_refused(
    http: httpx.AsyncClient, path: str, body: dict[str, object], detail: str
) -> None:
    more = {"name": "ci", "size": 1} if path == "/v1/pools" else {}
    problem = check_problem(await http.post(path, json={"image": "k8s", **more, **body}), 422, "invalid_request")
    assert detail in problem["detail"]


async def test_templates_and_pools_have_addons_as_part_of_their_shape(http: httpx.AsyncClient, worker: Worker) -> None:
    template = await http.post("/v1/templates", json={"image": "k8s", "addons": ["tea"]})
    assert (template.status_code, template.json()["addons"]) == (202, ["tea"])
    other = await http.post("/v1/templates", json={"image": "k8s"})
    assert (other.status_code, other.json()["addons"]) == (202, [])
    assert other.json()["id"] != template.json()["id"]
    pool = await http.post("/v1/pools", json={"image": "k8s", "addons": ["milk"], "name": "ci", "size": 0})
    assert (pool.status_code, pool.json()["addons"]) == (201, ["tea", "milk"])
    await worker.tend()
    made = (await create(http, "tea")).json()
    await worker.tend()
    assert (await http.get(URL)).json()["template"] == template.json()["id"]
    assert made["id"]


async def test_a_repeated_request_of_an_earlier_release_has_the_same_fingerprint(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "job-1"}
    first = await http.post("/v1/clusters", headers=key, json={"image": "k8s"})
    again = await http.post("/v1/clusters", headers=key, json={"image": "k8s", "addons": []})
    assert again.json()["id"] == first.json()["id"]
    other = await http.post("/v1/clusters", headers=key, json={"image": "k8s", "addons": ["tea"]})
    check_problem(other, 409, "idempotency_key_reused")


async def test_a_patch_has_the_whole_list(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "tea")
    await worker.tend()
    changed = await http.patch(URL, json={"addons": ["milk"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["phase"] == "ready"
    assert await shown(http) == [("tea", "ready", None), ("milk", "pending", None)]
    await worker.tend()
    assert await shown(http) == [("tea", "ready", None), ("milk", "ready", None)]
    await http.patch(URL, json={"addons": []})
    assert await shown(http) == [("tea", "removing", None), ("milk", "removing", None)]
    await worker.tend()
    assert await shown(http) == []
    events = (await http.get(f"{URL}/events")).json()["events"]
    changes = [event["message"] for event in events if event["type"] == "cluster.changed"]
    assert changes == ["add-ons: tea, milk", "add-ons: none"]


async def test_other_changes_leave_addons_alone(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "tea")
    await worker.tend()
    await http.patch(URL, json={"labels": {"a": "b"}})
    assert await shown(http) == [("tea", "ready", None)]


async def test_an_error_is_shown_at_the_addon(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await worker.tend()
    await http.patch(URL, json={"addons": ["tea"]})
    claim = await worker.claim()
    why, event = AddonError("addon_failed", "no water"), NewEvent("cluster.addon", "no water")
    await worker.store.status.set_addon(claim, "tea", AddonState.FAILED, error=why, event=event)
    await worker.store.leases.release(claim, due_in_seconds=None)
    cluster = (await http.get(URL)).json()
    assert (cluster["phase"], cluster["error"]) == ("ready", None)
    assert await shown(http) == [("tea", "failed", {"code": "addon_failed", "message": "no water"})]
    await http.patch(URL, json={"addons": ["tea"]})
    assert await shown(http) == [("tea", "pending", None)]


async def test_a_patch_that_is_not_possible_is_refused(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    problem = check_problem(await http.patch(URL, json={"addons": ["tea"]}), 409, "not_ready")
    assert problem["detail"] == "cluster demo is pending, not ready"
    await worker.tend()
    for names, detail in (
        (["coffee"], "there is no add-on 'coffee'; there are: far, juice, milk, tea"),
        (["far"], "far runs on images of k8s-other, not on those of k8s-test"),
        (["tea", "tea"], "an add-on is named twice"),
    ):
        problem = check_problem(await http.patch(URL, json={"addons": names}), 422, "invalid_request")
        assert detail in problem["detail"]
    check_problem(await http.patch("/v1/clusters/gone", json={"addons": []}), 404, "not_found")
    await http.post(f"{URL}/reset")
    check_problem(await http.patch(URL, json={"addons": ["tea"]}), 409, "conflict")
    assert await shown(http) == []


async def test_every_cluster_of_a_layer_has_the_add_ons_in_it(
    http: httpx.AsyncClient, worker: Worker, store: Store
) -> None:
    made = await create(http, "milk", image="layered")
    assert [one["name"] for one in made.json()["addons"]] == ["baked", "tea", "milk"], (
        "those of the image below run, too"
    )
    await worker.tend()
    assert await shown(http) == [("baked", "ready", None), ("tea", "ready", None), ("milk", "ready", None)]
    assert (await http.patch(URL, json={"addons": []})).status_code == 200
    await worker.tend()
    assert await shown(http) == [("baked", "ready", None)], "a request cannot remove what is part of the image"
    (addon,) = (await store.clusters.get("demo")).spec.addons
    assert addon.ready_paths == ("/apis/baked/ready",)


async def test_a_cluster_that_is_ready_when_it_is_booted_has_no_add_ons_of_its_image(http: httpx.AsyncClient) -> None:
    made = await create(http, image="layered", readiness="booted")
    assert (made.status_code, made.json()["addons"]) == (202, [])


async def test_a_template_of_a_layer_has_the_add_ons_in_it(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/templates", json={"image": "layered"})
    assert (made.status_code, made.json()["addons"]) == (202, ["baked"])
