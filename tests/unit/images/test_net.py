"""provisioning/toolbox/net, run by a real shell with stand-ins for ip and iptables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[3] / "provisioning" / "toolbox" / "net"
_ENVIRONMENT = {
    "BRIDGE": "bridge0",
    "BRIDGE_MAC": "52:54:00:00:00:01",
    "BRIDGE_ADDRESS": "192.168.66.2/24",
    "SUBNET": "192.168.66.0/24",
    "TAPS": "tap1",
    "FORWARDS": "2201=192.168.66.101:22",
}


@pytest.mark.parametrize(
    ("resolv_conf", "servers"),
    [
        ("nameserver 10.0.0.1\nsearch lab.example\nnameserver fe80::1%eth0\n", ["10.0.0.1", "fe80::1%eth0"]),
        ("# nameserver 10.0.0.9\nnameserver 127.0.0.11\noptions ndots:0", ["127.0.0.11"]),
        ("nameserver 10.0.0.2", ["10.0.0.2"]),
        ("", []),
    ],
)
def test_dnsmasq_is_told_the_servers_and_watches_no_file(tmp_path: Path, resolv_conf: str, servers: list[str]) -> None:
    ran = run_net(tmp_path, resolv_conf)
    assert ran.split() == ["--no-hosts", *(f"--server={server}" for server in servers), "--no-resolv"]


@pytest.mark.parametrize(
    ("routes", "added"),
    [
        (None, []),
        ("", []),
        (
            "192.168.67.0/24 10.96.0.7=192.168.66.101",
            ["route add 192.168.67.0/24 dev bridge0", "route add 10.96.0.7 via 192.168.66.101"],
        ),
    ],
)
def test_services_addresses_have_routes(tmp_path: Path, routes: str | None, added: list[str]) -> None:
    run_net(tmp_path, "", {} if routes is None else {"ROUTES": routes})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if call.startswith("route add")] == added
    assert calls.index("link set bridge0 up") < min(map(calls.index, added), default=len(calls))


def run_net(tmp_path: Path, resolv_conf: str, more: dict[str, str] | None = None) -> str:
    """dnsmasq's arguments; ip's are in `calls`."""
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    script = _SCRIPT.read_text()
    assert "< /etc/resolv.conf" in script
    (tmp_path / "net").write_text(script.replace("/etc/resolv.conf", str(tmp_path / "resolv.conf")))
    for name in ("ip", "iptables"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "dnsmasq").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "dnsmasq").chmod(0o755)
    environment = {**_ENVIRONMENT, **(more or {}), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["sh", str(tmp_path / "net"), "dnsmasq", "--no-hosts"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout
