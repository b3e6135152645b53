"""The files on a node's disk: complete, and without other nodes' files."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from dayfly.domain.security.pki import ca_hash
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import File
from dayfly.steps.guest.node_files import CLUSTER_ENV, node_files
from tests.support.specs import make_spec

SPEC = make_spec(workers=2, kubernetes=True)
SECRETS = new_secrets(SPEC, datetime(2026, 1, 1, tzinfo=UTC))
CA_KEYS = {SECRETS.pki[f"pki/{name}.key"] for name in ("ca", "etcd/ca", "front-proxy-ca", "sa")}


def files_of(index: int, *, emulated: bool = False) -> dict[str, File]:
    files = node_files(SPEC, SECRETS, SPEC.nodes()[index - 1], emulated=emulated)
    assert len({file.path for file in files}) == len(files)
    return {file.path: file for file in files}


def test_control_plane_has_all_that_kubeadm_would_have_made() -> None:
    files = files_of(1)
    expected = {
        *("admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf"),
        *("pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/front-proxy-ca.crt"),
        *("pki/apiserver.crt", "pki/apiserver-kubelet-client.key", "pki/apiserver-etcd-client.key"),
        *("pki/front-proxy-client.crt", "pki/etcd/ca.crt", "pki/etcd/server.key", "pki/etcd/peer.crt"),
        *("pki/etcd/healthcheck-client.key", "pki/controller-manager.key", "pki/scheduler.crt"),
        *("pki/kubelet.crt", "pki/kubelet.key"),
    }
    assert {f"/etc/kubernetes/{path}" for path in expected} <= files.keys()


def test_worker_gets_its_identity_and_the_cas_certificate_and_nothing_else() -> None:
    files = files_of(2)
    kubernetes = {"kubelet.conf", "pki/ca.crt", "pki/kubelet.crt", "pki/kubelet.key"}
    assert files.keys() == {CLUSTER_ENV, *(f"/etc/kubernetes/{path}" for path in kubernetes)}
    everything = b"".join(file.content for file in files.values())
    assert not [key for key in CA_KEYS if key.encode() in everything]
    assert SECRETS.pki["nodes/node02/kubelet.conf"].encode() in everything
    assert SECRETS.pki["nodes/node03/kubelet.conf"].encode() not in everything


def test_no_node_gets_a_callers_identity() -> None:
    for index in (1, 2, 3):
        everything = b"".join(file.content for file in files_of(index).values())
        for name in ("caller", "dayfly"):
            assert SECRETS.pki[f"clients/{name}.key"].encode() not in everything


def test_secrets_are_readable_by_root_only() -> None:
    for index in (1, 2):
        for path, file in files_of(index).items():
            assert file.mode == (0o644 if path.endswith((".crt", ".pub")) else 0o600), path


def test_a_shell_reads_who_the_node_is(tmp_path: Path) -> None:
    env = tmp_path / "cluster.env"
    env.write_bytes(files_of(3, emulated=True)[CLUSTER_ENV].content)
    printed = subprocess.run(
        ["env", "-i", "/bin/sh", "-ac", f". {env}; env"], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.split("=", 1) for line in printed.splitlines())
    assert {name: value for name, value in values.items() if name.startswith("DAYFLY_")} == {
        "DAYFLY_NODE_INDEX": "3",
        "DAYFLY_NODE_COUNT": "3",
        "DAYFLY_NODE_NAME": "node03",
        "DAYFLY_NODE_ADDRESS": "192.168.66.103",
        "DAYFLY_CONTROL_PLANE": "192.168.66.101:6443",
        "DAYFLY_TOKEN": SECRETS.bootstrap_token,
        "DAYFLY_CA_HASH": ca_hash(SECRETS.pki),
        "DAYFLY_EMULATED": "1",
    }
    assert b"DAYFLY_EMULATED=0\n" in files_of(3)[CLUSTER_ENV].content
