"""/v1/images: promotion, rollback and retirement, and what clusters are made of then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.cluster.naming import LABEL_CONTENTS, LABEL_IMAGE
from dayfly.domain.image import ImageContents
from dayfly.domain.image_catalog import EngineImage
from dayfly.errors import EngineRefused, EngineUnavailable
from dayfly.store import Store
from dayfly.testing.fake_images import FakeImages
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.node_images import baked, manifest_of

FOREIGN = "lab:5000/team/other:1"


@pytest.fixture
def engine(infrastructure: Infrastructure) -> FakeImages:
    return infrastructure.stored


@pytest.fixture
async def http(store: Store, infrastructure: Infrastructure) -> AsyncIterator[httpx.AsyncClient]:
    catalog = ImageCatalog(infrastructure.stored, store)
    async with ApiHttp(infrastructure.services(store, resolve_image=catalog.resolve)) as client:
        yield client


async def change(http: httpx.AsyncClient, what: str, image: str | None = None, **headers: str) -> dict[str, Any]:
    body = {} if image is None else {"image": image}
    answer = await http.post(f"/v1/images/k8s/{what}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def create(http: httpx.AsyncClient, image: str) -> httpx.Response:
    return await http.post("/v1/clusters", json={"image": image})


async def made_of(http: httpx.AsyncClient, image: str) -> str:
    answer = await create(http, image)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["image_id"])


async def test_without_promotions_a_name_is_its_last_bake(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12, days=2)
    assert await made_of(http, "k8s") == old
    new = baked(engine, "k8s", "b" * 12, "v1.21.0", days=1)
    assert await made_of(http, "k8s") == new
    assert await made_of(http, "k8s@latest") == new
    assert await made_of(http, "k8s@1.20") == old
    assert await made_of(http, "k8s@v1") == new, "the last bake has it"
    found = (await http.get("/v1/images/k8s")).json()
    assert (found["promoted"], found["current"], found["history"]) == (None, new, [])
    assert [(one["digest"], one["promoted"], one["current"]) for one in found["images"]] == [
        (new, False, True),
        (old, False, False),
    ]


async def test_a_promoted_name_stays_until_the_next_promotion(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12, days=2)
    found = await change(http, "promote")
    assert (found["promoted"], found["current"]) == (old, old), "the last bake"
    new = baked(engine, "k8s", "b" * 12, "v1.21.0", days=1)
    for reference in (
        "k8s",
        "k8s@latest",
        "k8s:latest",
        "dayfly/k8s",
        "k8s@1.20",
        f"k8s@{old}",
        old,
        f"k8s:{'a' * 12}",
    ):
        assert await made_of(http, reference) == old, reference
    assert await made_of(http, f"k8s@{new}") == new
    problem = check_problem(await create(http, "k8s@1.21"), 422, "image_missing")
    assert "no promoted image with Kubernetes 1.21" in problem["detail"]
    assert "there are: k8s (v1.20.2, v1.21.0)" in problem["detail"]
    await change(http, "promote", new[7:19])
    assert await made_of(http, "k8s") == new
    assert await made_of(http, "k8s@1.20") == old
    found = await change(http, "rollback")
    assert found["promoted"] == old
    assert [(one["event"], one["digest"]) for one in found["history"]] == [
        ("rolled_back", old),
        ("promoted", new),
        ("promoted", old),
    ]
    check_problem(await create(http, "k8s@1.21"), 422, "image_missing")
    assert await made_of(http, "k8s") == old


async def test_a_promoted_image_is_kept_from_later_bakes(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12)
    await change(http, "promote")
    baked(engine, "k8s", "b" * 12)
    await engine.remove(f"dayfly/k8s:{'a' * 12}")  # as a later bake does
    assert await made_of(http, "k8s") == old
    assert engine.stored[old].references == (f"dayfly/k8s:promoted-{old[7:19]}",)


async def test_a_retired_image_serves_no_new_cluster(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12)
    await change(http, "promote")
    cluster = (await create(http, "k8s")).json()
    problem = check_problem(await http.post("/v1/images/k8s/retire", json={"image": old}), 409, "conflict")
    assert "k8s stands for" in problem["detail"]
    new = baked(engine, "k8s", "b" * 12)
    await change(http, "promote", new)
    found = await change(http, "retire", old)
    assert [(one["digest"], one["state"], one["retired_at"] is None) for one in found["images"]] == [
        (one, state, state == "present") for one, state in sorted(((new, "present"), (old, "retired")), reverse=True)
    ]
    for reference in (old, f"k8s@{old}", f"k8s:{'a' * 12}"):
        problem = check_problem(await create(http, reference), 422, "image_retired")
        assert old in problem["detail"]
    assert (await http.get(f"/v1/clusters/{cluster['id']}")).json()["image_id"] == old
    check_problem(await http.post("/v1/images/k8s/rollback", json={}), 409, "conflict")
    assert (await change(http, "retire", old))["history"] == found["history"], "it is retired"
    await change(http, "promote", old)
    assert await made_of(http, "k8s") == old


async def test_the_last_bake_of_a_name_without_promotions_cannot_be_retired(
    http: httpx.AsyncClient, engine: FakeImages
) -> None:
    only = baked(engine, "k8s", "a" * 12)
    check_problem(await http.post("/v1/images/k8s/retire", json={"image": only}), 409, "conflict")
    assert await made_of(http, "k8s") == only


async def test_what_an_image_is_and_who_uses_it(
    http: httpx.AsyncClient, engine: FakeImages, store: Store, worker: Worker
) -> None:
    image = baked(engine, "k8s", "a" * 12)
    engine.add_node_image(FOREIGN, manifest_of("c" * 12, None, "bare").model_dump_json())
    engine._name(image, "dayfly/stable:latest")
    await change(http, "promote", "stable")
    for name in ("good", "bad-one"):
        await http.post("/v1/clusters", json={"image": "k8s", "name": name})
    await store.teams.create("me", "")
    await http.post("/v1/templates", json={"image": "k8s", "owner": "me"})
    await http.post("/v1/pools", json={"image": "k8s", "size": 1, "name": "pool"})
    await worker.tend()
    listed = (await http.get("/v1/images")).json()["images"]
    assert [one["name"] for one in listed] == ["k8s", "stable", FOREIGN]
    shown = listed[0]
    assert (shown["recipe"], shown["base"], shown["kubernetes_version"]) == ("k8s-test", "bookworm", "v1.20.2")
    assert (shown["addons"], shown["parents"], shown["packages"]) == (["milk", "tea"], [], None)
    assert (shown["size_bytes"], shown["created_at"]) == (1 << 20, "2026-01-01T00:00:00Z")
    assert shown["age_seconds"] > 0
    assert (shown["promoted"], listed[1]["promoted"], listed[1]["current"]) == (True, False, True)
    assert shown["use"]["templates"] == 1
    assert shown["use"]["pools"] == 1
    assert shown["use"]["clusters"] >= 2
    outcomes = shown["outcomes"]
    assert (outcomes["window_seconds"], outcomes["failed"]) == (7 * 86400, 1)
    assert outcomes["failure_rate"] == pytest.approx(1 / (1 + outcomes["ready"]))
    assert listed[2]["outcomes"]["failure_rate"] is None
    window = (await http.get("/v1/images/k8s?window_seconds=86400")).json()["images"][0]["outcomes"]
    assert window["window_seconds"] == 86400


async def test_an_image_says_what_is_inside(http: httpx.AsyncClient, engine: FakeImages) -> None:
    below = manifest_of("a" * 12)
    layer = manifest_of("b" * 12, "v1.20.2", "mine").model_copy(
        update={"parents": (below.digest,), "parent_recipes": (below.recipe,)}
    )
    contents = ImageContents(digest=layer.digest, base="trixie", packages={"zlib1g": "1:1.3"})
    labels = {LABEL_IMAGE: layer.model_dump_json(), LABEL_CONTENTS: contents.model_dump_json()}
    engine.add(f"dayfly/mine:{layer.digest}", labels)
    [shown] = (await http.get("/v1/images/mine")).json()["images"]
    assert (shown["base"], shown["packages"]) == ("trixie", {"zlib1g": "1:1.3"})
    assert (shown["parents"], shown["addons"]) == ([below.digest], ["milk", "tea"])
    assert (shown["size_bytes"], shown["kubernetes_version"]) == (1 << 20, "v1.20.2")


async def test_a_collected_image_is_listed_on_request(
    http: httpx.AsyncClient, engine: FakeImages, store: Store
) -> None:
    old = baked(engine, "k8s", "a" * 12, days=1)
    await change(http, "promote")
    new = baked(engine, "k8s", "b" * 12)
    await change(http, "promote", new)
    await change(http, "retire", old)
    assert await store.images.begin_removal(old)
    await engine.remove(old)
    await store.images.removed(old)
    assert [one["digest"] for one in (await http.get("/v1/images")).json()["images"]] == [new]
    found = (await http.get("/v1/images/k8s?collected=true")).json()
    assert [(one["digest"], one["state"]) for one in found["images"]] == [(new, "present"), (old, "collected")]
    assert found["images"][1]["kubernetes_version"] == "v1.20.2"
    assert found["history"][0]["event"] == "collected"
    check_problem(await create(http, old), 422, "image_missing")


async def test_a_repeated_request_is_carried_out_once(http: httpx.AsyncClient, engine: FakeImages) -> None:
    ids = []
    for digest in ("a" * 12, "b" * 12, "c" * 12):
        ids.append(baked(engine, "k8s", digest))
        await change(http, "promote")
    for _ in range(2):
        found = await change(http, "rollback", **{"Idempotency-Key": "once"})
        assert found["promoted"] == ids[1]
    answer = await http.post("/v1/images/k8s/rollback", json={}, headers={"Idempotency-Key": "once"})
    assert answer.headers["Idempotency-Replayed"] == "true"
    other = await http.post("/v1/images/other/rollback", json={}, headers={"Idempotency-Key": "once"})
    check_problem(other, 409, "idempotency_key_reused")
    assert (await change(http, "promote", ids[1]))["history"] == found["history"], "it is promoted"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("k8s/promote", {"image": "nothing"}, 422, "image_missing"),
        ("k8s/promote", {"image": "sha256:" + "0" * 64}, 422, "image_missing"),
        ("k8s/promote", {"image": "k8s@9.9"}, 422, "image_missing"),
        ("k8s/promote", {"image": "k8s@"}, 422, "invalid_request"),
        ("k8s/promote", {"image": "../x"}, 422, "invalid_request"),
        ("k8s/promote", {"digest": "x"}, 422, "invalid_request"),
        ("k8s/promote", {"image": "plain"}, 422, "not_a_node_image"),
        ("new/promote", {}, 422, "image_missing"),
        ("K8S/promote", {}, 404, "not_found"),
        ("a..b/promote", {"image": "k8s"}, 422, "bad_name"),
        ("toolbox/promote", {"image": "k8s"}, 422, "bad_name"),
        ("k8s/retire", {}, 422, "invalid_request"),
        ("new/retire", {"image": "k8s"}, 409, "conflict"),
        ("k8s/retire", {"image": FOREIGN}, 409, "conflict"),
        ("k8s/rollback", {}, 409, "conflict"),
        ("k8s/rollback", {"image": "k8s"}, 422, "invalid_request"),
        ("new/rollback", {}, 409, "conflict"),
    ],
)
async def test_bad_requests(
    http: httpx.AsyncClient, engine: FakeImages, path: str, body: dict[str, object], status: int, code: str
) -> None:
    baked(engine, "k8s", "a" * 12)
    engine.add("dayfly/plain:latest")
    engine.add_node_image(FOREIGN, manifest_of("c" * 12).model_dump_json())
    before = dict(engine.stored)
    check_problem(await http.post(f"/v1/images/{path}", json=body), status, code)
    assert engine.stored == before
    assert (await http.get("/v1/images/k8s")).json()["history"] == []


async def test_a_name_that_does_not_exist(http: httpx.AsyncClient, engine: FakeImages) -> None:
    baked(engine, "k8s", "a" * 12)
    problem = check_problem(await http.get("/v1/images/new"), 404, "not_found")
    assert problem["detail"] == "no node image is named new; names: k8s"
    check_problem(await http.get("/v1/images/-"), 404, "not_found")
    problem = check_problem(await create(http, "new"), 422, "image_missing")
    assert problem["detail"].endswith("there are: k8s (v1.20.2)")


async def test_a_digest_prefix_of_two_images(http: httpx.AsyncClient, engine: FakeImages) -> None:
    first = baked(engine, "k8s", "a" * 12)
    twin = first[:30] + "0" * (len(first) - 30)
    engine.stored[twin] = replace(engine.stored[first], id=twin, references=("dayfly/k8s:twin",))
    answer = await http.post("/v1/images/k8s/promote", json={"image": first[7:20]})
    assert "2 images begin with" in check_problem(answer, 422, "image_missing")["detail"]


async def test_a_promoted_image_that_the_engine_lost(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12)
    await change(http, "promote")
    baked(engine, "k8s", "b" * 12)
    await engine.remove(old)
    problem = check_problem(await create(http, "k8s"), 422, "image_missing")
    assert problem["detail"].startswith(f"dayfly/k8s:latest: there is no image {old} on this engine")


async def test_a_promotion_that_is_refused_leaves_no_tag(
    http: httpx.AsyncClient, engine: FakeImages, store: Store
) -> None:
    old = baked(engine, "k8s", "a" * 12)
    new = baked(engine, "k8s", "b" * 12)
    await change(http, "promote", new)
    before = engine.stored[old].references
    await change(http, "retire", old)
    assert await store.images.begin_removal(old)
    check_problem(await http.post("/v1/images/k8s/promote", json={"image": old}), 409, "conflict")
    assert engine.stored[old].references == before


@pytest.mark.parametrize("error", [EngineUnavailable("away"), EngineRefused("no")])
async def test_an_engine_that_fails(store: Store, infrastructure: Infrastructure, error: Exception) -> None:
    async def fail(*_: object) -> tuple[EngineImage, ...]:
        raise error

    changes: dict[str, Any] = dict.fromkeys(("present_images", "find_image"), fail)
    async with ApiHttp(infrastructure.services(store, **changes)) as http:
        status, code = (503, "engine_unavailable") if isinstance(error, EngineUnavailable) else (502, "engine_refused")
        for path in ("/v1/images", "/v1/images/k8s"):
            check_problem(await http.get(path), status, code)
        for what, body in (("promote", {}), ("rollback", {}), ("retire", {"image": "k8s"})):
            check_problem(await http.post(f"/v1/images/k8s/{what}", json=body), status, code)
    assert await store.images.changes() == ()


async def test_a_refused_promotion_leaves_the_tag_of_one_at_the_same_time(engine: FakeImages, store: Store) -> None:
    image_id = baked(engine, "k8s", "a" * 12)
    catalog = ImageCatalog(engine, store)
    ours, theirs = await catalog.find("k8s", None), await catalog.find("k8s", None)
    await catalog.keep("k8s", ours)
    await catalog.keep("k8s", theirs)
    await store.images.promote("k8s", theirs)
    await catalog.release("k8s", ours)
    assert f"dayfly/k8s:promoted-{image_id[7:19]}" in engine.stored[image_id].references


async def test_a_retired_image_that_is_baked_again_is_nobodys(http: httpx.AsyncClient, engine: FakeImages) -> None:
    old = baked(engine, "k8s", "a" * 12, days=2)
    baked(engine, "k8s", "b" * 12, days=1)
    await change(http, "retire", old)
    await engine.tag(old, "dayfly/k8s:latest")  # as the bake does: it is not built again
    found = (await http.get("/v1/images/k8s")).json()
    assert (found["current"], [one["current"] for one in found["images"]]) == (None, [False, False])
    problem = check_problem(await create(http, "k8s"), 422, "image_retired")
    assert "dayfly image promote" in problem["detail"]
    await change(http, "promote")
    assert await made_of(http, "k8s") == old
