"""What a play gets from outside: keys and manifests over the addresses of the settings, and the file that it reads."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import stat
from pathlib import Path

import httpx
import pytest

from dayfly import assets
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.errors import BakeFailed, InvalidRequest, UpstreamUnavailable
from dayfly.images.plan import make_plan
from dayfly.images.play_inputs import check_addresses, needs_inputs, open_client, play_inputs, write_inputs
from dayfly.images.recipe import Recipe, load_recipe

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\n"
MANIFEST = "kind: Namespace\n"
SECRET = base64.b64encode(b"user:secret").decode()


class Web:
    """Answers requests; `asked` are their addresses."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers = {"Release.key": (200, KEY), "net.yaml": (200, MANIFEST)} | answers
        self.asked: list[str] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        status, text = self.answers[request.url.path.rpartition("/")[2]]
        return httpx.Response(status, text=text)


def recipe(**variables: str) -> Recipe:
    found = load_recipe("k8s-1.36")
    return found.model_copy(update={"vars": {**found.vars, **variables}})


def with_network() -> Recipe:
    digest = hashlib.sha256(MANIFEST.encode()).hexdigest()
    return recipe(kubernetes_network_manifest="https://up.example/net.yaml", kubernetes_network_sha256=digest)


async def test_upstream_has_the_key_and_the_manifest() -> None:
    web = Web()
    inputs = await play_inputs(with_network(), BakeAddresses(), environment={}, transport=web.transport)
    assert web.asked == ["https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key", "https://up.example/net.yaml"]
    assert (inputs["kubernetes_key"], inputs["network_manifest"]) == (KEY, MANIFEST)
    assert inputs["kubernetes_packages"] == "https://pkgs.k8s.io/core:/stable:"
    assert (inputs["registries"], inputs["logins"], inputs["certificate_authorities"]) == ({}, {}, "")


async def test_every_address_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "mine")
    (tmp_path / "logins").write_text(json.dumps({"auths": {"mirror.example": {"auth": SECRET}, "helper": {}}}))
    addresses = BakeAddresses(
        kubernetes_packages="http://mirror.example/k8s",
        kubernetes_key=tmp_path / "key",
        crio_packages="https://mirror.example/crio",
        registries=(("registry.k8s.io", "https://mirror.example"),),
        registry_logins=tmp_path / "logins",
        downloads=(("https://up.example/", "http://mirror.example/up/"),),
        dnf_repositories=("https://mirror.example/dnf",),
    )
    web = Web()
    chosen = with_network().model_copy(update={"vars": {**with_network().vars, "container_runtime": "cri-o"}})
    inputs = await play_inputs(
        chosen,
        addresses,
        apt_sources="deb https://mirror.example/debian trixie main\ndeb [signed-by=/k] file:/srv/debian trixie main\n",
        apt_options=('Acquire::http::Proxy "http://proxy.example"', 'Dir::Etc::netrc "/etc/apt/auth.conf"'),
        environment={"HTTPS_PROXY": "http://proxy.example:3128", "HOME": "/root"},
        transport=web.transport,
    )
    assert web.asked == ["https://mirror.example/crio/v1.36/deb/Release.key", "http://mirror.example/up/net.yaml"]
    assert inputs["kubernetes_key"].endswith("mine")
    assert inputs["kubernetes_packages"] == "http://mirror.example/k8s"
    assert inputs["registries"] == {"registry.k8s.io": "https://mirror.example"}
    assert inputs["logins"] == {"mirror.example": {"auth": SECRET}}
    assert inputs["dnf_repositories"] == ["https://mirror.example/dnf"]
    assert inputs["apt_sources"] == "deb https://mirror.example/debian trixie main"
    assert inputs["apt_options"] == ['Acquire::http::Proxy "http://proxy.example"']
    assert inputs["proxies"] == {"https_proxy": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((404, ""), UpstreamUnavailable, "the key of packages: https://pkgs.k8s.io.* does not exist"),
        ((500, ""), UpstreamUnavailable, "was answered with status 500"),
        ((200, "<html>"), BakeFailed, "is not an OpenPGP key"),
    ],
)
async def test_a_key_that_is_none_is_refused(answer: tuple[int, str], error: type[Exception], words: str) -> None:
    web = Web(**{"Release.key": answer})
    with pytest.raises(error, match=words):
        await play_inputs(recipe(), BakeAddresses(), transport=web.transport)


@pytest.mark.parametrize(
    ("locations", "is_refused"),
    [
        (["https://cdn.example/1", "https://cdn.example/Release.key"], False),
        (["http://cdn.example/Release.key"], True),
        (["http://cdn.example/1", "https://cdn.example/Release.key"], True),
    ],
)
async def test_a_key_is_fetched_over_https_only_also_after_redirects(locations: list[str], is_refused: bool) -> None:
    places = ["https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key", *locations]

    def answer(request: httpx.Request) -> httpx.Response:
        following = places[places.index(str(request.url)) + 1 :]
        return httpx.Response(302, headers={"Location": following[0]}) if following else httpx.Response(200, text=KEY)

    inputs = play_inputs(recipe(), BakeAddresses(), transport=httpx.MockTransport(answer))
    if is_refused:
        with pytest.raises(UpstreamUnavailable, match=r"Release\.key redirects from HTTPS to HTTP, which is refused"):
            await inputs
    else:
        assert (await inputs)["kubernetes_key"] == KEY


async def test_authorities_of_the_settings_are_beside_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt and dnf trust only those of the file that they get, and upstream's packages may come with them."""
    for name in ("machine", "own"):
        options = ("-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}")
        files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / name))
        made = await asyncio.create_subprocess_exec("openssl", "req", *options, *files, stderr=asyncio.subprocess.PIPE)
        _, error = await made.communicate()
        assert made.returncode == 0, error
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "machine"))
    addresses = BakeAddresses(certificate_authorities=tmp_path / "own")
    inputs = await play_inputs(recipe(), addresses, transport=Web().transport)
    found = inputs["certificate_authorities"]
    assert [one in found for one in ((tmp_path / "own").read_text(), (tmp_path / "machine").read_text())] == [True] * 2
    assert found.count("BEGIN CERTIFICATE") == 2


async def test_a_manifest_with_another_digest_is_refused() -> None:
    web = Web(**{"net.yaml": (200, MANIFEST + "\n")})
    with pytest.raises(BakeFailed, match=r"https://up\.example/net\.yaml has the SHA-256 [0-9a-f]{64}; expected: "):
        await play_inputs(with_network(), BakeAddresses(), transport=web.transport)


def test_the_file_is_for_one_user_and_in_no_key(tmp_path: Path) -> None:
    chosen = load_recipe("k8s-1.36")
    played = write_inputs(chosen, {"logins": {"a": {"auth": SECRET}}}, tmp_path)
    path = Path(str(played.vars["bake_addresses_file"]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["logins"]["a"]["auth"] == SECRET
    assert SECRET not in json.dumps(played.vars)
    assert "bake_addresses_file" not in make_plan("k8s-1.36", assets.provisioning()).recipe.vars


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not as `docker login` writes it"),
        ('["secret"]', "is not as"),
        ('{"auths": {"a": "secret"}}', "is not as"),
    ],
)
async def test_logins_that_are_none_are_refused_without_their_text(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "logins").write_text(text)
    with pytest.raises(InvalidRequest, match=words) as refused:
        await play_inputs(recipe(), BakeAddresses(registry_logins=tmp_path / "logins"), transport=Web().transport)
    assert "secret" not in refused.value.message


async def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="DAYFLY_BAKE_REGISTRY_LOGINS cannot be read"):
        await play_inputs(recipe(), BakeAddresses(registry_logins=tmp_path / "gone"), transport=Web().transport)
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(InvalidRequest, match="DAYFLY_BAKE_CERTIFICATE_AUTHORITIES has no certificates"):
        open_client(BakeAddresses(certificate_authorities=tmp_path / "ca"))


def test_a_key_over_plain_http_proves_nothing(tmp_path: Path) -> None:
    plain = BakeAddresses(kubernetes_packages="http://mirror.example")
    with pytest.raises(InvalidRequest, match="set DAYFLY_KUBERNETES_PACKAGES_KEY to a file"):
        check_addresses(recipe(), plain)
    with pytest.raises(InvalidRequest, match="which is no file"):
        check_addresses(recipe(), BakeAddresses(kubernetes_key=tmp_path / "gone"))
    (tmp_path / "key").write_text(KEY)
    check_addresses(recipe(), BakeAddresses(kubernetes_packages="http://a.example", kubernetes_key=tmp_path / "key"))
    crio = BakeAddresses(crio_packages="http://mirror.example")
    check_addresses(recipe(), crio)
    with pytest.raises(InvalidRequest, match="set DAYFLY_CRIO_PACKAGES_KEY to a file"):
        check_addresses(recipe(container_runtime="cri-o"), crio)


def test_a_version_that_upstream_lacks_needs_a_mirror() -> None:
    with pytest.raises(InvalidRequest, match=r"no packages of Kubernetes 1\.20: set DAYFLY_KUBERNETES_PACKAGES"):
        check_addresses(load_recipe("k8s-1.20"), BakeAddresses())
    check_addresses(load_recipe("k8s-1.20"), BakeAddresses(kubernetes_packages="https://mirror.example"))


@pytest.mark.parametrize("name", ["bare", "k8s-debian"])
def test_a_recipe_without_a_version_needs_none_of_it(name: str) -> None:
    assert not needs_inputs(load_recipe(name))
    check_addresses(load_recipe(name), BakeAddresses(kubernetes_packages="http://mirror.example"))
