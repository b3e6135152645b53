"""The client against a real server over a socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import yaml

from dayfly.client import (
    ApiError,
    AsyncClient,
    Client,
    ClusterFailed,
    SizeRequest,
    Unreachable,
    WaitTimeout,
)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as opened:
        yield opened


def test_from_a_request_to_nothing_left(client: Client) -> None:
    made = client.create("whole-life", image="k8s", workers=1, worker=SizeRequest(memory_mib=300), labels={"a": "b"})
    assert (made.workers.count, made.workers.memory_mib, made.labels) == (1, 300, {"a": "b"})
    ready = client.wait_ready("whole-life")
    assert (ready.id, ready.phase) == (made.id, "ready")
    assert yaml.safe_load(client.kubeconfig(made.id))["kind"] == "Config"
    assert client.registry(made.id).pull == "registry:5000"
    assert [node.name for node in client.nodes(made.id)] == ["node01", "node02"]
    assert "PRIVATE KEY" in client.ssh(made.id, "node02").private_key
    assert "PRIVATE KEY" not in repr(client.ssh(made.id))
    assert {port.leads_to for port in client.ports(made.id)} == {"api", "registry", "ssh/node01", "ssh/node02"}
    assert client.console(made.id, "node01", tail_bytes=7) == "login: "
    assert "".join(client.follow_console(made.id, "node01", tail_bytes=7)) == "login: café\n"
    client.delete(made.id)
    client.wait_deleted("whole-life")
    assert client.get(made.id).phase == "deleted"
    followed = list(client.follow(made.id))
    assert followed == list(client.all_events(made.id))
    assert followed[-1].type == "phase"


async def test_the_async_client_does_the_same(async_client: AsyncClient) -> None:
    made = await async_client.create("async-life", image="k8s")
    assert (await async_client.wait_ready("async-life")).id == made.id
    assert "clusters" in await async_client.kubeconfig(made.id)
    assert (await async_client.registry(made.id)).push
    assert len(await async_client.nodes(made.id)) == 1
    assert (await async_client.ssh(made.id)).username == "root"
    assert len(await async_client.ports(made.id)) == 3
    assert await async_client.console(made.id, "node01", tail_bytes=7) == "login: "
    printed = [text async for text in async_client.follow_console(made.id, "node01", tail_bytes=7)]
    assert "".join(printed) == "login: café\n"
    assert made.id in {one.id for one in await async_client.list()}
    assert (await async_client.dry_run(image="bare")).readiness == "booted"
    assert (await async_client.version()).api == ("v1",)
    await async_client.delete(made.id)
    await async_client.wait_deleted(made.id)
    assert [event async for event in async_client.follow(made.id)] == list(await async_client.all_events(made.id))
    with pytest.raises(ApiError) as caught:
        await async_client.evidence(made.id, "x")
    assert caught.value.code == "not_found"


def test_both_clients_offer_the_same() -> None:
    offered = [{name for name in dir(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert offered[0] == offered[1]


def test_a_cluster_that_fails_says_why(client: Client) -> None:
    made = client.create("bad-luck", image="bare")
    with pytest.raises(ClusterFailed, match="vm_exited") as caught:
        client.wait_ready(made.id)
    error = caught.value.cluster.error
    assert error is not None
    assert error.evidence == ("node01/console",)
    assert client.evidence(made.id, "node01/console") == "Kernel panic"


def test_waiting_for_one_that_was_deleted_meanwhile(client: Client) -> None:
    made = client.create("slow-and-gone", image="bare")
    client.delete(made.id)
    with pytest.raises(ClusterFailed):
        client.wait_ready(made.id)


def test_a_wait_ends(client: Client) -> None:
    made = client.create("slow-start", image="bare")
    with pytest.raises(WaitTimeout, match="pending") as caught:
        client.wait_ready(made.id, timeout_seconds=0)
    assert caught.value.cluster.id == made.id
    with pytest.raises(WaitTimeout):
        client.wait_deleted(made.id, timeout_seconds=0)


def test_what_is_not_there_is_deleted(client: Client) -> None:
    client.wait_deleted("never-was")


def test_problems_keep_their_code(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.create("demo", image="nothing")
    assert (caught.value.code, caught.value.status) == ("image_missing", 422)
    assert caught.value.problem["title"]
    with pytest.raises(ApiError) as missing:
        client.get("no/such thing?")
    assert missing.value.code == "not_found"


def test_listing_goes_through_all_pages(client: Client) -> None:
    for index in range(3):
        client.create(f"slow-page-{index}", image="bare", labels={"page": "yes"})
    found = client.list(labels={"page": "yes"}, phases=["pending"])
    assert [one.name for one in found] == ["slow-page-2", "slow-page-1", "slow-page-0"]


def test_the_same_key_makes_one_cluster(client: Client) -> None:
    made = {client.create(image="bare", idempotency_key="one").id for _ in range(2)}
    assert len(made) == 1


def test_no_server() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable) as caught:
        client.version()
    assert caught.value.url == "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://x", "http://", "http://[::1"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(Unreachable):
        Client(url)


def test_url_and_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"version": "1", "api": ["v1"], "more": 1})

    monkeypatch.setenv("DAYFLY_URL", "https://lab.example/dayfly/")
    monkeypatch.setenv("DAYFLY_TOKEN", "s3cret")
    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.version().version == "1"
    assert str(seen[0].url) == "https://lab.example/dayfly/v1/version"
    assert seen[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json={"version": 3}),
        httpx.Response(404, json=["x"]),
        httpx.Response(302, headers={"Location": "/login"}),
    ],
)
def test_an_answer_that_is_not_dayflys(answer: httpx.Response) -> None:
    with Client(transport=httpx.MockTransport(lambda _: answer)) as client, pytest.raises(ApiError) as caught:
        client.version()
    assert caught.value.code == "unexpected_answer"


def test_nothing_of_the_server_is_imported() -> None:
    code = "import sys, dayfly.client; print(*(name for name in sys.modules if name.startswith('dayfly')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded if "." in name} == {"addresses", "client", "schemas", "vocabulary"}
