"""The files of the API's TLS: made once, renewed in time, read again, and kept where new ones cannot be used."""

from __future__ import annotations

import asyncio
import re
import ssl
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from dayfly import metrics
from dayfly.domain.security.server_authority import RENEWED_BEFORE, VALID_FOR, fingerprint, names_in, validity
from dayfly.errors import TlsUnusable
from dayfly.settings import Settings
from dayfly.tls.authority_files import AuthorityFiles
from dayfly.tls.server_tls import ServerTls, server_tls
from tests.support.clock import FakeClock
from tests.support.tls import Issuer, tls_of, until

NAMES = {"localhost", "127.0.0.1"}


def sample(name: str) -> float:
    found = metrics.REGISTRY.get_sample_value(name)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tls"


def test_the_authority_is_made_once_and_its_key_is_the_owners_alone(folder: Path) -> None:
    clock = FakeClock()
    server, key = AuthorityFiles(folder, "lab", NAMES).paths(clock.now())
    assert key is None
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"authority.crt": 0o644, "authority.key": 0o600, "server.pem": 0o600, "lock": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {file: file.read_bytes() for file in folder.iterdir()}
    AuthorityFiles(folder, "lab", NAMES).paths(clock.now())
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert names_in(server.read_text()) == NAMES
    assert fingerprint(server.read_text()) == fingerprint((folder / "authority.crt").read_text())


def test_a_certificate_is_renewed_in_time_and_after_a_change_of_names(folder: Path) -> None:
    clock = FakeClock()
    files = AuthorityFiles(folder, "lab", NAMES)
    server, _ = files.paths(clock.now())
    authority, first = (folder / "authority.crt").read_text(), server.read_text()
    clock.advance((VALID_FOR - RENEWED_BEFORE - timedelta(hours=1)).total_seconds())
    files.paths(clock.now())
    assert server.read_text() == first
    clock.advance(7200)
    files.paths(clock.now())
    second = server.read_text()
    assert validity(second).ends - validity(first).ends > timedelta(days=19)
    AuthorityFiles(folder, "lab", {*NAMES, "lab.example"}).paths(clock.now())
    assert names_in(server.read_text()) == {*NAMES, "lab.example"}
    files.paths(clock.now())
    assert names_in(server.read_text()) == {*NAMES, "lab.example"}, "two processes do not replace each other's for ever"
    clock.advance(-90 * 86400)
    files.paths(clock.now())
    assert validity(server.read_text()).holds(clock.now()), "a clock that was set back"
    assert (folder / "authority.crt").read_text() == authority


def test_a_broken_certificate_is_issued_again_and_a_lost_key_of_the_authority_is_said(folder: Path) -> None:
    clock = FakeClock()
    files = AuthorityFiles(folder, "lab", NAMES)
    server, _ = files.paths(clock.now())
    for broken in ("", "x", server.read_text().replace("MII", "MIJ")):
        server.write_text(broken)
        files.paths(clock.now())
        assert validity(server.read_text()).holds(clock.now())
    (folder / "authority.key").unlink()
    with pytest.raises(TlsUnusable, match=r"authority\.key is missing: restore it from a backup, or remove .*\.crt"):
        files.paths(clock.now())
    (folder / "authority.crt").unlink()
    files.paths(clock.now())
    assert server.read_text().endswith((folder / "authority.crt").read_text()), "issued by the new authority"


@pytest.mark.parametrize("key", ["another", "with a password", "none"])
def test_a_key_of_another_authority_signs_nothing(tmp_path: Path, folder: Path, key: str) -> None:
    """Half of a backup: no caller would accept a certificate of that key, and the former one is still valid."""
    clock = FakeClock()
    server, _ = AuthorityFiles(folder, "lab", NAMES).paths(clock.now())
    AuthorityFiles(tmp_path / "other", "lab", NAMES).paths(clock.now())
    other = (tmp_path / "other" / "authority.key").read_bytes()
    locked = load_pem_private_key(other, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (folder / "authority.key").write_bytes({"another": other, "with a password": locked, "none": b""}[key])
    before = server.read_bytes()
    with pytest.raises(TlsUnusable, match=r"authority\.key is not the key of authority\.crt"):
        AuthorityFiles(folder, "lab", {*NAMES, "lab.example"}).paths(clock.now())
    assert server.read_bytes() == before


async def test_a_renewal_is_loaded_while_the_service_runs(folder: Path) -> None:
    clock = FakeClock()
    tls = ServerTls(AuthorityFiles(folder, "lab", NAMES).paths, clock)
    await tls.start()
    context, ends = tls.context, sample("dayfly_tls_certificate_expiry_timestamp_seconds")
    assert ends == tls.certificate.valid.ends.timestamp()
    await tls.look()
    assert tls.context is context
    clock.advance((VALID_FOR - RENEWED_BEFORE).total_seconds() + 1)
    with capture_logs() as logs:
        await tls.look()
    assert tls.context is not context
    assert sample("dayfly_tls_certificate_expiry_timestamp_seconds") > ends
    assert [line["event"] for line in logs] == ["the certificate was renewed"]
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


def _other_key(file: Path) -> str:
    """The certificate with the key of another one."""
    other = Issuer.new().write(file.with_name("other.pem")).read_text()
    end = "-----END PRIVATE KEY-----\n"
    return other.partition(end)[0] + end + file.read_text().partition(end)[2]


def _encrypted(file: Path) -> str:
    key = load_pem_private_key(file.read_bytes(), password=None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()
    return text + file.read_text().partition("-----END PRIVATE KEY-----\n")[2]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda _: "", r"server\.pem: no certificate or key in PEM form"),
        (lambda file: file.read_text()[:200], r"server\.pem: "),
        (_other_key, r"server\.pem: key values mismatch"),
        (_encrypted, r"the key is encrypted with a password: give a key without one"),
        (lambda file: Issuer.new().write(file, age=VALID_FOR).read_text(), r"it is valid from .* UTC only"),
    ],
)
async def test_files_that_cannot_be_used_change_nothing(
    tmp_path: Path, broken: Callable[[Path], str], why: str
) -> None:
    file = Issuer.new().write(tmp_path / "server.pem")
    tls, good = tls_of(file), file.read_text()
    await tls.start()
    context = tls.context
    file.write_text(broken(file))
    with capture_logs() as logs:
        await tls.look()
        await tls.look()
    assert tls.context is context
    assert sample("dayfly_tls_reload_failed") == 1
    [line] = logs
    assert line["event"] == "the new certificate is not used, the former one stays"
    assert re.search(why, line["reason"])
    file.write_text(good)
    await tls.look()
    assert (tls.context, sample("dayfly_tls_reload_failed")) == (context, 0)


async def test_a_running_service_looks_after_its_files(tmp_path: Path) -> None:
    file = Issuer.new().write(tmp_path / "server.pem")
    tls = tls_of(file)
    await tls.start()
    context = tls.context
    running = asyncio.create_task(tls.run())
    Issuer.new().write(file)
    await until(lambda: tls.context is not context)
    running.cancel()


async def test_a_missing_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(TlsUnusable, match=r"nowhere\.pem: No such file or directory$"):
        await tls_of(tmp_path / "nowhere.pem").start()


async def test_an_expired_certificate_is_served_at_the_start_and_logged(tmp_path: Path) -> None:
    tls = tls_of(Issuer.new().write(tmp_path / "server.pem", age=VALID_FOR * 2))
    with capture_logs() as logs:
        await tls.start()
    assert [line["event"] for line in logs] == ["the certificate of the API is not valid now"]
    Issuer.new().write(tmp_path / "server.pem", age=VALID_FOR + timedelta(days=1))
    await tls.look()
    assert tls.certificate.pem == (tmp_path / "server.pem").read_text(), "no worse than the former one"


def test_the_settings_choose_the_source(tmp_path: Path) -> None:
    clock = FakeClock()
    assert server_tls(Settings(state_dir=tmp_path), clock) is None
    assert server_tls(Settings(state_dir=tmp_path, tls="authority"), clock) is not None
    files = Settings(tls="files", tls_certificate=tmp_path / "a.pem", tls_key=tmp_path / "a.key")
    assert server_tls(files, clock) is not None
    assert not list(tmp_path.iterdir())


def test_the_names_of_the_certificate_are_those_that_callers_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "host_name", property(lambda _: "Lab"))
    local = {"localhost", "127.0.0.1", "::1", "lab"}
    assert Settings().certificate_names == local
    assert Settings(listen_address="::", host_names=("*", "lab.example")).certificate_names == {
        *local,
        "lab.example",
    }
    assert Settings(listen_address="10.0.0.5").certificate_names == {*local, "10.0.0.5"}
    assert Settings(listen_address="fe80::1%eth0").certificate_names == {*local, "fe80::1"}
    monkeypatch.setattr(Settings, "host_name", property(lambda _: "no_host_name"))
    assert Settings().certificate_names == local - {"lab"}
