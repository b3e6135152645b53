"""`dayfly serve` with TLS as a process, `dayfly tls fingerprint`, and what a caller who does not trust it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dayfly.client import Client
from tests.support.service import Service, wait_until_it_answers
from tests.support.tls import Issuer


@pytest.fixture
def service(service: Service) -> Service:
    """With an authority of its own."""
    url = service.url.replace("http://127.0.0.1", "https://localhost")
    return replace(service, url=url, environment={**service.environment, "DAYFLY_URL": url, "DAYFLY_TLS": "authority"})


def test_a_service_makes_its_authority_and_callers_pin_it(service: Service) -> None:
    missing = service.cli("tls", "fingerprint")
    assert (missing.returncode, missing.stderr.partition(":")[0]) == (3, "error [not_found]")
    service.start("serve")
    wait_until_it_answers(service)
    found = service.cli("tls", "fingerprint")
    pin = found.stdout.strip()
    assert (found.returncode, found.stderr, pin.startswith("sha256:")) == (0, "", True)
    assert f"fingerprint={pin}" in service.log.read_text()
    shown = json.loads(service.cli("tls", "fingerprint", "--json").stdout)
    assert shown == {"fingerprint": pin, "file": str(service.folder / "state" / "tls" / "authority.crt")}
    with Client(service.url, ca_fingerprint=pin) as client:
        assert client.version().api == ("v1",)
    refused = service.cli("cluster", "list")
    assert (refused.returncode, refused.stderr.partition(":")[0]) == (8, "error [untrusted]")
    assert "DAYFLY_CA_FINGERPRINT" in refused.stderr
    pinned = replace(service, environment={**service.environment, "DAYFLY_CA_FINGERPRINT": pin})
    assert pinned.cli("cluster", "list").returncode == 0


def test_a_certificate_that_cannot_be_used_ends_the_service(service: Service) -> None:
    file = Issuer.new().write(service.folder / "server.pem")
    file.write_text(file.read_text()[:300])
    broken = {"DAYFLY_TLS": "files", "DAYFLY_TLS_CERTIFICATE": str(file)}
    ended = replace(service, environment={**service.environment, **broken}).cli("serve")
    assert (ended.returncode, ended.stderr.splitlines()[-1].startswith(f"error [tls_unusable]: {file}: ")) == (7, True)


def test_without_tls_there_is_no_fingerprint_and_other_addresses_are_warned_about(service: Service) -> None:
    anywhere = {"DAYFLY_TLS": "off", "DAYFLY_LISTEN_ADDRESS": "0.0.0.0"}  # noqa: S104
    plain = replace(service, environment={**service.environment, **anywhere})
    refused = plain.cli("tls", "fingerprint")
    assert refused.stderr == "error [bad_settings]: DAYFLY_TLS is off: the service has no certificate\n"
    plain.url = plain.url.replace("https", "http")
    plain.start("serve")
    wait_until_it_answers(plain)
    assert "the API listens without TLS" in plain.log.read_text()


def test_the_containers_health_check_speaks_tls_where_the_service_does(service: Service) -> None:
    service.start("serve")
    wait_until_it_answers(service)
    script = Path(__file__).parents[3] / "deploy" / "docker" / "service" / "ready.py"
    asked = subprocess.run(
        [sys.executable, script], env=dict(service.environment), capture_output=True, text=True, timeout=60, check=False
    )
    # 503: the engine does not answer. The check has read the service's answer.
    url = f"https://127.0.0.1:{service.environment['DAYFLY_LISTEN_PORT']}/readyz"
    assert asked.stdout == f"{url}: HTTP Error 503: Service Unavailable\n"
