"""A malicious server: neither code on the caller's machine, nor the caller's token on the network."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import yaml

from dayfly.cli.errors import explain
from dayfly.client import ApiError, AsyncClient, Client, Cluster, ClusterFailed, InvalidArgument
from dayfly.schemas.base import FROM_SERVER
from tests.unit.client.test_lifetime import CLUSTER as ANSWER

DATA = base64.b64encode(b"x" * 40).decode()
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
ACCESS = {
    "host": "127.0.0.1",
    "port": 40001,
    "username": "root",
    "private_key": KEY,
    "host_key": "ssh-ed25519 AAAA",
    "known_hosts": "[127.0.0.1]:40001 ssh-ed25519 AAAA",
}


def kubeconfig(cluster: dict[str, object], user: dict[str, object], **more: object) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "demo", "cluster": cluster}],
        "users": [{"name": "caller@demo", "user": user}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "caller@demo"}}],
        "current-context": "demo",
        **more,
    }
    return yaml.safe_dump(document, sort_keys=False)


CLUSTER: dict[str, object] = {
    "server": "https://127.0.0.1:40001",
    "certificate-authority-data": DATA,
    "tls-server-name": "node01",
}
USER: dict[str, object] = {"client-certificate-data": DATA, "client-key-data": DATA}
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", "id"]}


def fetched(text: str) -> str:
    with Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=text))) as client:
        return client.kubeconfig("demo")


def test_a_kubeconfig_of_dayfly_stays_as_it_is() -> None:
    assert fetched(kubeconfig(CLUSTER, USER)) == kubeconfig(CLUSTER, USER)
    assert fetched(kubeconfig(CLUSTER, {"token": "abc.def"})) == kubeconfig(CLUSTER, {"token": "abc.def"})


def test_what_kubectl_would_run_or_read_is_gone() -> None:
    text = kubeconfig(
        {
            **CLUSTER,
            "proxy-url": "http://evil",
            "insecure-skip-tls-verify": True,
            "certificate-authority": "/x",
        },
        {**USER, "exec": EXEC, "auth-provider": {"name": "x"}, "tokenFile": "/etc/shadow", "as": "system:admin"},
        preferences={"colors": True},
        extensions=[{"name": "x"}],
    )
    assert fetched(text) == kubeconfig(CLUSTER, USER)


@pytest.mark.parametrize(
    "text",
    [
        kubeconfig(CLUSTER, {"exec": EXEC}),
        kubeconfig({**CLUSTER, "server": "http://127.0.0.1:40001"}, USER),
        kubeconfig({**CLUSTER, "server": "https://-oProxyCommand=x:1"}, USER),
        kubeconfig({**CLUSTER, "server": "https://127.0.0.1:99999"}, USER),
        kubeconfig({**CLUSTER, "certificate-authority-data": "not base64!"}, USER),
        kubeconfig(CLUSTER, {**USER, "client-key-data": 7}),
        kubeconfig(CLUSTER, {"token": "a\nb"}),
        kubeconfig(CLUSTER, USER, clusters=[]),
        "!!python/object/apply:os.system ['id']",
        "hello",
        "[" * 100_000,
        "a" * 300_000,
        "",
    ],
)
def test_what_is_no_kubeconfig_of_dayfly_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="did not answer with a kubeconfig") as caught:
        fetched(text)
    assert caught.value.code == "unexpected_answer"


async def test_the_async_client_rebuilds_it_too() -> None:
    text = kubeconfig(CLUSTER, {**USER, "exec": EXEC})
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=text))
    async with AsyncClient(transport=transport) as client:
        assert await client.kubeconfig("demo") == kubeconfig(CLUSTER, USER)


def test_a_kubeconfig_of_another_cluster_is_refused() -> None:
    text = kubeconfig(CLUSTER, USER)
    with Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=text))) as client:
        with pytest.raises(ApiError, match="it is of 'demo', and 'other' was asked for") as caught:
            client.kubeconfig("other")
        assert client.kubeconfig("0123456789ab") == text, "an id is not in it"
    assert caught.value.code == "unexpected_answer"


def ssh(**fields: object) -> Any:
    answer = httpx.Response(200, content=json.dumps({**ACCESS, **fields}))
    with Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        return client.ssh("demo")


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "-oProxyCommand=touch /tmp/x;"},
        {"username": "root@evil -oProxyCommand=x"},
        {"username": ""},
        {"host": "-oProxyCommand=touch /tmp/x"},
        {"host": "a b"},
        {"host": "a\n"},
        {"host": ""},
        {"port": 0},
        {"port": 65536},
        {"private_key": "x"},
        {"private_key": f"{KEY}\n{KEY}"},
        {"known_hosts": "* ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 BBBB"},
        {"known_hosts": "@cert-authority * ssh-ed25519 AAAA"},
        {"host_key": "ssh-ed25519 AAAA\nmore"},
    ],
)
def test_what_would_be_another_argument_of_ssh_is_refused(fields: dict[str, object]) -> None:
    assert ssh().host == "127.0.0.1"
    with pytest.raises(ApiError, match="not as Dayfly does"):
        ssh(**fields)


@pytest.mark.parametrize("host", ["lab.example", "10.0.0.5", "::1", "[fd00::5]", "fe80::1%eth0", "my_host"])
def test_hosts_that_are_hosts(host: str) -> None:
    assert ssh(host=host).host == host


@pytest.mark.parametrize("url", ["http://lab.example", "http://10.0.0.5:8700", "http://[fd00::5]:8700"])
def test_a_token_never_travels_in_the_clear(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Client(url).close()
    with pytest.raises(InvalidArgument, match="use https"):
        Client(url, token="secret")
    monkeypatch.setenv("DAYFLY_TOKEN", "secret")
    with pytest.raises(InvalidArgument, match="use https"):
        AsyncClient(url)


@pytest.mark.parametrize(
    "url",
    ["https://lab.example", "http://127.0.0.1:8700", "http://127.8.9.10", "http://[::1]:8700", "http://localhost:8700"],
)
@pytest.mark.parametrize("token", ["s\u00e9cret", "secret\n", "two words"])
def test_a_token_that_no_header_can_have_is_not_shown(url: str, token: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the token must be printable ASCII without spaces$"):
        Client(url, token=token)


def test_a_token_may_go_over_tls_and_loopback(url: str) -> None:
    Client(url, token="secret").close()


@pytest.mark.parametrize("field", ["id", "name", "template", "pool"])
@pytest.mark.parametrize(
    "given", ["--help", "a b", "x; reboot", "$(id)", "`id`", "a\nb", "..", "", "\x1b[2J", "a" * 129]
)
def test_a_name_that_hints_would_print_as_a_command_is_refused(field: str, given: str) -> None:
    answer = httpx.Response(200, json={"clusters": [{**ANSWER, field: given}]})
    transport = httpx.MockTransport(lambda _: answer)
    with Client(transport=transport) as client, pytest.raises(ApiError, match="not as Dayfly does"):
        client.list()


@pytest.mark.parametrize("given", ["--help", "Boot failed", "x]: all is well\n", ""])
def test_a_code_is_a_code(given: str) -> None:
    fault = {"code": given, "message": "x", "evidence": []}
    answer = httpx.Response(200, json={"clusters": [{**ANSWER, "error": fault}]})
    transport = httpx.MockTransport(lambda _: answer)
    with Client(transport=transport) as client, pytest.raises(ApiError, match="not as Dayfly does"):
        client.list()


def test_the_name_of_a_text_is_one_argument_of_the_hint() -> None:
    fault = {"code": "boot", "message": "x", "step": "boot", "evidence": ["boot/a; reboot"]}
    failed = Cluster.model_validate({**ANSWER, "phase": "failed", "error": fault}, context=FROM_SERVER)
    explained = explain(ClusterFailed(failed))
    assert explained is not None
    assert explained.lines.endswith("hint: dayfly cluster evidence demo 'boot/a; reboot'")
