"""Tools of trials: a registry's API, a guest's clock, a kubeconfig, the service's settings."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from dayfly.client import ApiError, AsyncClient, Unreachable
from dayfly.doctor.full.guest import Guest
from dayfly.doctor.full.registry_api import RegistryApi, TinyImage, digest_of
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.service import TrialService, operator_token, trial_settings
from dayfly.doctor.full.trials.cold import access_of
from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.security.kubeconfig import ClientIdentity, kubeconfig
from dayfly.drivers.interfaces import CommandResult, SshTarget
from dayfly.settings import Settings
from dayfly.testing.fakes import FakeSsh
from tests.support.clock import FakeClock

IMAGE = TinyImage.of("seed")


class Registry:
    """As much of a registry as a client of its API sees."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        match request.method, path.split("/")[4]:
            case "POST", "blobs":
                # It names itself as it was called inside: a client must not follow that.
                return httpx.Response(202, headers={"Location": f"http://registry:5000{path}1?_state=x"})
            case "PUT", "blobs":
                assert request.url.host == "127.0.0.1"
                digest = request.url.params["digest"]
                assert digest == f"sha256:{hashlib.sha256(request.content).hexdigest()}"
                self.blobs[digest] = request.content
                return httpx.Response(201)
            case "PUT", "manifests":
                self.manifests[path.rsplit("/", 1)[1]] = request.content
                return httpx.Response(201)
            case "GET", "manifests" if (name := path.rsplit("/", 1)[1]) in self.manifests:
                return httpx.Response(200, content=self.manifests[name])
            case (("GET" | "HEAD"), "blobs") if (digest := path.rsplit("/", 1)[1]) in self.blobs:
                return httpx.Response(200, content=self.blobs[digest])
        return httpx.Response(404)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def api(registry: Registry) -> RegistryApi:
    return RegistryApi("http://127.0.0.1:40000", httpx.MockTransport(registry.answer))


async def test_what_is_pushed_is_pulled_and_has_the_size_of_all_its_parts(registry: Registry) -> None:
    async with api(registry) as client:
        await client.push("doctor/tiny", "1", IMAGE)
        assert digest_of(await client.manifest("doctor/tiny", "1")) == IMAGE.digest
        assert await client.blob("doctor/tiny", digest_of(IMAGE.layer)) == IMAGE.layer
        assert await client.image_size("doctor/tiny", "1") == len(IMAGE.layer) + len(IMAGE.config)
    assert TinyImage.of("other").digest != IMAGE.digest


async def test_a_layer_that_did_not_arrive_is_missed(registry: Registry) -> None:
    async with api(registry) as client:
        await client.push("doctor/tiny", "1", IMAGE)
        del registry.blobs[digest_of(IMAGE.layer)]
        with pytest.raises(TrialFailed, match="HTTP 404") as caught:
            await client.image_size("doctor/tiny", "1")
    assert caught.value.code == "registry_refused"


class LateSsh(FakeSsh):
    """A guest whose clock is ahead by `ahead` seconds; each command takes a second."""

    def __init__(self, clock: FakeClock, ahead: float, exit_code: int = 0) -> None:
        super().__init__()
        self._times, self._ahead, self._exit_code = clock, ahead, exit_code

    async def run(self, target: SshTarget, command: str, **_: object) -> CommandResult:
        self._times.advance(0.5)
        said = f"{self._times.now().timestamp() + self._ahead:.3f}\n"
        self._times.advance(0.5)
        return CommandResult(self._exit_code, said, "no such command")


def guest(ssh: LateSsh, clock: FakeClock) -> Guest:
    return Guest("node01", SshTarget("127.0.0.1", 1, "key", "key"), ssh, clock, 10.0)


@pytest.mark.parametrize(("ahead", "right"), [(0.0, True), (1.9, True), (-1.9, True), (3.0, False), (-90.0, False)])
async def test_a_clock_is_compared_with_the_middle_of_the_question(ahead: float, right: bool) -> None:
    clock = FakeClock()
    asked = guest(LateSsh(clock, ahead), clock)
    if right:
        assert await asked.check_clock() == f"node01's clock differs by {ahead:+.2f} s"
        return
    with pytest.raises(TrialFailed) as caught:
        await asked.check_clock()
    assert caught.value.code == "clock_wrong"


async def test_a_command_that_fails_says_what_it_said() -> None:
    clock = FakeClock()
    with pytest.raises(TrialFailed, match="exit code 127: no such command") as caught:
        await guest(LateSsh(clock, 0, exit_code=127), clock).run("nonsense")
    assert caught.value.evidence["stderr"] == "no such command"


def test_a_kubeconfig_is_read_as_it_was_written() -> None:
    written = kubeconfig(
        "c1", "https://[::1]:6443", "CA", ClientIdentity("caller", "CERT", "KEY"), server_name="node01"
    )
    access = access_of(written)
    assert (access.endpoint, access.server_name) == (Endpoint("::1", 6443), "node01")
    assert (access.ca, access.certificate, access.key) == ("CA", "CERT", "KEY")


def test_the_service_under_trial_has_the_hosts_settings_and_a_state_of_its_own(tmp_path: Path) -> None:
    operator = Settings(
        instance="lab",
        docker_host="unix:///run/podman.sock",
        accelerator="tcg",
        publish_address="10.0.0.1",
        port_range="40000-40999",
        database_url="postgresql+asyncpg://somewhere/dayfly",
        loopback_is_operator=True,
        default_ttl_seconds=60,
        template_auto=True,
        tls="files",
        tls_certificate=tmp_path / "server.pem",
        tls_key=tmp_path / "server.key",
    )
    own = trial_settings(operator, tmp_path)
    for name in ("docker_host", "accelerator", "publish_address", "port_range", "boot_limit_seconds"):
        assert getattr(own, name) == getattr(operator, name)
    assert own.database == f"sqlite+aiosqlite:///{tmp_path}/dayfly.db"
    assert own.instance.startswith("lab.doctor-")
    assert own.instance != trial_settings(operator, tmp_path).instance
    assert (own.listen_address, own.default_ttl_seconds, own.template_auto) == ("127.0.0.1", None, False)
    assert (own.tls, own.tls_certificate, own.tls_key) == ("off", None, None), "trials speak plain HTTP on loopback"
    assert own.listen_port not in {0, operator.listen_port}
    assert not own.loopback_is_operator, "other users of the host have no part in the trials"
    assert Settings(**own.model_dump(mode="json")) == own, "as the process is given them"


async def test_the_trials_have_a_token_of_their_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever token the operator's environment has: it is for another server."""
    monkeypatch.setenv("DAYFLY_TOKEN", "dfly_of_another_server")
    settings = trial_settings(Settings(docker_host=f"unix://{tmp_path}/no-engine.sock"), tmp_path)
    token, service = await operator_token(settings), TrialService(settings)
    await service.start()
    try:
        async with AsyncClient(service.url, token=token) as api, asyncio.timeout(60):
            while True:
                with suppress(Unreachable):
                    assert (await api.whoami()).role == "operator"
                    break
                await asyncio.sleep(0.1)
        async with AsyncClient(service.url) as other:
            with pytest.raises(ApiError, match="the token is not valid"):
                await other.whoami()
    finally:
        assert await service.end() == "the service ended cleanly"
    assert token not in service.log()
