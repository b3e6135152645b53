"""Names with paths are refused before they are sent; an answer must match the requested resource."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from dayfly.client import ApiError, AsyncClient, Client, InvalidArgument
from dayfly.client.transport import path_of
from dayfly.schemas.base import CLUSTER_HEADER
from dayfly.schemas.clusters import DryRun
from tests.unit.client.test_lifetime import CLUSTER

PATHS = ["", ".", "..", "../x", "a/..", "a//b", "/", "a\\..\\b", "a\n", "a\x00b", "\x7f", "a\u2028b"]

CALLS: list[Callable[[Client, str], object]] = [
    Client.get,
    Client.delete,
    Client.reset,
    Client.hibernate,
    Client.resume,
    Client.heartbeat,
    Client.kubeconfig,
    Client.ports,
    Client.nodes,
    Client.diagnostics,
    Client.template,
    Client.delete_template,
    Client.pool,
    Client.delete_pool,
    Client.image,
    Client.promote_image,
    Client.rollback_image,
    lambda client, name: client.retire_image(name, "0123456789ab"),
    lambda client, name: client.extend(name, 60),
    lambda client, name: client.change_pool(name, size=1),
    lambda client, name: client.delete_checkpoint("demo", name),
    lambda client, name: client.checkpoint("demo", name),
    lambda client, name: client.evidence("demo", name),
    lambda client, name: client.ssh("demo", name),
    lambda client, name: client.console("demo", name),
    lambda client, name: next(iter(client.follow_console("demo", name))),
    lambda client, name: client.wait_deleted(name),
]


@pytest.mark.parametrize("name", PATHS)
def test_a_name_that_is_a_path_is_sent_nowhere(name: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"sent {request.method} {request.url}")

    with Client(transport=httpx.MockTransport(answer)) as client:
        for call in CALLS:
            with pytest.raises(InvalidArgument, match="is not a name or id"):
                call(client, name)


@pytest.mark.parametrize(
    ("part", "segment"),
    [
        ("demo", "demo"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("node01/console", "node01%2Fconsole"),
        ("...", "..."),
        ("%", "%25"),
    ],
)
def test_everything_else_is_one_segment(part: str, segment: str) -> None:
    assert path_of("clusters", part, "evidence") == f"/v1/clusters/{segment}/evidence"
    assert httpx.URL(f"http://x{path_of('clusters', part)}").raw_path == f"/v1/clusters/{segment}".encode()


@pytest.mark.parametrize("call", [Client.get, Client.delete, Client.resume, Client.wait_ready])
def test_an_answer_of_another_cluster(call: Callable[[Client, str], object]) -> None:
    with Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=CLUSTER))) as client:
        call(client, "demo")
        call(client, "0123456789ab")
        with pytest.raises(ApiError, match="'other' and answered with '0123456789ab' or 'demo'") as caught:
            call(client, "other")
    assert caught.value.code == "unexpected_answer"


def test_a_dry_run_of_another_cluster() -> None:
    fields = DryRun.model_fields
    planned = {name: value for name, value in CLUSTER.items() if name in fields}
    with Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=planned))) as client:
        client.dry_run("demo", image="bare")
        client.dry_run(image="bare")
        with pytest.raises(ApiError, match="'other' and answered with 'demo'"):
            client.dry_run("other", image="bare")


PART_CALLS: list[Callable[[Client, str], object]] = [
    Client.registry,
    Client.ports,
    Client.nodes,
    Client.ssh,
    Client.heartbeat,
    Client.checkpoints,
    Client.diagnostics,
    Client.kubeconfig,
    lambda client, name: client.console(name, "node01"),
    lambda client, name: client.evidence(name, "logs"),
    lambda client, name: client.create_checkpoint(name, "before"),
    lambda client, name: client.checkpoint(name, "before"),
    lambda client, name: client.delete_checkpoint(name, "before"),
    lambda client, name: client.events(name),
]


@pytest.mark.parametrize("call", PART_CALLS)
def test_a_part_of_another_cluster(call: Callable[[Client, str], object]) -> None:
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={CLUSTER_HEADER: "0123456789ab demo"}, json={})
    )
    wanted = pytest.raises(ApiError, match="'other' and answered with '0123456789ab' or 'demo'")
    with Client(transport=transport) as client, wanted as caught:
        call(client, "other")
    assert caught.value.code == "unexpected_answer"


def test_a_followed_console_of_another_cluster() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/console"):
            return httpx.Response(200, headers={CLUSTER_HEADER: "ba9876543210 demo"}, text="login:")
        return httpx.Response(200, json=CLUSTER)

    wanted = pytest.raises(ApiError, match="'0123456789ab' and answered with 'ba9876543210' or 'demo'")
    with Client(transport=httpx.MockTransport(answer)) as client, wanted:
        next(iter(client.follow_console("demo", "node01")))


@pytest.mark.parametrize("headers", [{CLUSTER_HEADER: "0123456789ab demo"}, {}])
def test_a_part_of_the_named_cluster(headers: dict[str, str]) -> None:
    answer = httpx.Response(200, headers=headers, json={"push": "127.0.0.1:5000", "pull": "registry:5000"})
    with Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        for name in ("demo", "0123456789ab"):
            assert client.registry(name).pull == "registry:5000"


async def test_the_async_client_looks_too() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=CLUSTER))
    async with AsyncClient(transport=transport) as client:
        with pytest.raises(ApiError, match="was asked for 'other'"):
            await client.create("other", image="bare")
        with pytest.raises(InvalidArgument):
            await client.delete_checkpoint("demo", "..")
