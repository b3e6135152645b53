"""The systemd unit under a real systemd: it starts the service in its sandbox, and stops it in order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.lab import REPO, build_images
from tests.support.systemd_host import SystemdHost, systemd_host, systemd_image

pytestmark = pytest.mark.docker

UNIT = REPO / "deploy" / "systemd" / "dayfly.service"
READY = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8711/readyz', timeout=5).read().decode())"


@pytest.fixture
async def image() -> str:
    return await systemd_image()


@pytest.fixture
def host(image: str) -> Iterator[SystemdHost]:
    build_images("service")
    with systemd_host(image, UNIT) as host:
        yield host


def test_the_service_runs_as_the_unit_says_and_ends_in_order(host: SystemdHost) -> None:
    assert host.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT.name}") == ""
    # Its own instance: on the real engine, the service must not touch foreign objects.
    settings = f"DAYFLY_LISTEN_PORT=8711\\nDAYFLY_INSTANCE={host.container}\\n"
    host.run("sh", "-c", f"mkdir /etc/dayfly && printf '{settings}' > /etc/dayfly/dayfly.env")

    host.run("systemctl", "start", "dayfly")
    assert '"status":"ready"' in _answer(host)

    status = host.run("cat", f"/proc/{host.show('dayfly', 'MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert "dayfly.db" in host.run("ls", "/var/lib/dayfly/")
    assert host.run("stat", "--format=%a", "/var/lib/dayfly/operator-token").strip() == "600"

    host.run("systemctl", "kill", "--signal=SIGKILL", "dayfly")
    assert '"status":"ready"' in _answer(host)
    assert host.show("dayfly", "NRestarts") == "1"

    host.run("systemctl", "stop", "dayfly")
    assert (host.show("dayfly", "Result"), host.show("dayfly", "ExecMainStatus")) == ("success", "0")


def _answer(host: SystemdHost) -> str:
    """The answer of /readyz, once there is one."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return host.run("python3", "-c", READY)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise AssertionError(host.run("journalctl", "--no-pager", "--unit", "dayfly")) from None
            time.sleep(0.3)
