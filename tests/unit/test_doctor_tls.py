"""The doctor's check of the API's TLS. It issues nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from dayfly.clock import Clock
from dayfly.doctor.tls import check_tls
from dayfly.domain.security.server_authority import RENEWED_BEFORE, VALID_FOR
from dayfly.settings import Settings
from dayfly.tls.server_tls import certificate_source
from tests.support.clock import FakeClock
from tests.support.tls import Issuer


def check(settings: Settings, clock: Clock) -> tuple[str, str, bool]:
    """The status, the fact, and whether there is advice."""
    found = check_tls(settings, clock.now())
    assert (found.status == "ok") == (found.advice == "")
    return found.status, found.found, bool(found.advice)


def test_plain_http_is_for_loopback() -> None:
    clock = FakeClock()
    assert check(Settings(), clock) == ("ok", "off; the API listens on 127.0.0.1", False)
    status, found, _ = check(Settings(listen_address="10.0.0.5"), clock)
    assert (status, found.partition(":")[0]) == ("warn", "off, and the API listens on 10.0.0.5")
    assert check(Settings(listen_address="::"), clock)[0] == "warn"


def test_an_authority_is_made_at_the_start_and_not_by_the_doctor(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = Settings(state_dir=tmp_path, tls="authority")
    assert check(settings, clock)[0] == "ok"
    assert not list(tmp_path.iterdir())
    source = certificate_source(settings)
    assert source is not None
    source(clock.now())
    status, found, _ = check(settings, clock)
    assert (status, found.startswith("authority; sha256:")) == ("ok", True)
    clock.advance((VALID_FOR - RENEWED_BEFORE / 2).total_seconds() + 1)
    assert check(settings, clock)[0] == "warn"
    clock.advance(RENEWED_BEFORE.total_seconds())
    status, found, _ = check(settings, clock)
    assert (status, found.endswith(": not valid now")) == ("fail", True)


def test_files_are_checked_as_the_service_reads_them(tmp_path: Path) -> None:
    clock = FakeClock()
    file = tmp_path / "server.pem"
    settings = Settings(tls="files", tls_certificate=file)
    status, found, _ = check(settings, clock)
    assert (status, found) == ("fail", f"{file}: No such file or directory")
    Issuer.new(clock.now()).write(file)
    file.write_text(file.read_text().partition("-----BEGIN CERTIFICATE-----")[0])
    assert check(settings, clock)[0] == "fail"


def test_an_end_is_announced_in_time(tmp_path: Path) -> None:
    clock = FakeClock()
    file = Issuer.new().write(tmp_path / "server.pem")
    settings = Settings(tls="files", tls_certificate=file)
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds() + 1)
    assert check(settings, clock)[0] == "ok"
    clock.advance(timedelta(days=17).total_seconds())
    assert check(settings, clock)[0] == "warn"
    clock.advance(timedelta(days=17).total_seconds())
    assert check(settings, clock)[0] == "fail"
