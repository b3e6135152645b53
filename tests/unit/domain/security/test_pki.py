"""The PKI: every chain verifies with Kubernetes' names and usages, and clusters share no key or certificate."""

from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest, KubernetesNode, NodeSize
from dayfly.domain.security.pki import VALID_BEFORE, VALID_FOR, ca_hash, issue_pki, reissue_clients
from dayfly.settings import Settings

NOW = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)
SIZE = NodeSize(vcpus=2, memory_mib=2048, disk_gib=10)
LONGEST_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH

LEAVES = {
    # path: (CA, common name, organisation, usages)
    "pki/apiserver": ("pki/ca", "kube-apiserver", None, {SERVER}),
    "pki/apiserver-kubelet-client": ("pki/ca", "kube-apiserver-kubelet-client", "system:masters", {CLIENT}),
    "pki/apiserver-etcd-client": ("pki/etcd/ca", "kube-apiserver-etcd-client", "system:masters", {CLIENT}),
    "pki/front-proxy-client": ("pki/front-proxy-ca", "front-proxy-client", None, {CLIENT}),
    "pki/etcd/server": ("pki/etcd/ca", "node01", None, {SERVER, CLIENT}),
    "pki/etcd/peer": ("pki/etcd/ca", "node01", None, {SERVER, CLIENT}),
    "pki/etcd/healthcheck-client": ("pki/etcd/ca", "kube-etcd-healthcheck-client", "system:masters", {CLIENT}),
    "pki/controller-manager": ("pki/ca", "kube-controller-manager", None, {SERVER}),
    "pki/scheduler": ("pki/ca", "kube-scheduler", None, {SERVER}),
    "nodes/node01/pki/kubelet": ("pki/ca", "system:node:node01", "system:nodes", {SERVER}),
    "nodes/node03/pki/kubelet": ("pki/ca", "system:node:node03", "system:nodes", {SERVER}),
    "clients/caller": ("pki/ca", "kubernetes-admin", "system:masters", {CLIENT}),
    "clients/dayfly": ("pki/ca", "dayfly", "system:masters", {CLIENT}),
}
KUBECONFIGS = {
    "admin.conf": ("kubernetes-admin", "system:masters"),
    "controller-manager.conf": ("system:kube-controller-manager", "system:masters"),
    "scheduler.conf": ("system:kube-scheduler", None),
    "nodes/node01/kubelet.conf": ("system:node:node01", "system:nodes"),
    "nodes/node03/kubelet.conf": ("system:node:node03", "system:nodes"),
}


def spec_of(workers: int) -> ClusterSpec:
    kubernetes = KubernetesNode(version="v1.20.2", smoke_image="dayfly.local/smoke:1")
    manifest = ImageManifest(recipe="k", control_plane=SIZE, worker=SIZE, minimum=SIZE, kubernetes=kubernetes)
    return ClusterSpec(
        image="k", image_id="sha256:0", manifest=manifest, control_plane=SIZE, worker=SIZE, workers=workers
    )


@pytest.fixture(scope="module")
def pki() -> dict[str, str]:
    return issue_pki(spec_of(workers=2), NOW)


def certificate(pki: dict[str, str], path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki[f"{path}.crt"].encode())


def attribute(cert: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    values = cert.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else None


@pytest.mark.parametrize("path", LEAVES)
def test_leaf_is_signed_by_its_ca_and_says_what_it_is_for(pki: dict[str, str], path: str) -> None:
    ca, common_name, organization, usages = LEAVES[path]
    leaf, authority = certificate(pki, path), certificate(pki, ca)
    leaf.verify_directly_issued_by(authority)
    assert attribute(leaf, NameOID.COMMON_NAME) == common_name
    assert attribute(leaf, NameOID.ORGANIZATION_NAME) == organization
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("path", LEAVES)
def test_private_key_belongs_to_its_certificate(pki: dict[str, str], path: str) -> None:
    key = load_pem_private_key(pki[f"{path}.key"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate(pki, path).public_key()
    assert key.curve.name == "secp256r1"


@pytest.mark.parametrize("path", ["clients/caller", "clients/dayfly"])
def test_a_fork_signs_its_clients_anew_and_its_ca_vouches_for_them(pki: dict[str, str], path: str) -> None:
    later = NOW + timedelta(days=30)
    fork = reissue_clients(pki, later)
    old, new = certificate(pki, path), certificate(fork, path)
    new.verify_directly_issued_by(certificate(pki, "pki/ca"))
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number
    assert new.public_key() != old.public_key()
    assert load_pem_private_key(fork[f"{path}.key"].encode(), None).public_key() == new.public_key()
    assert new.not_valid_before_utc == later - VALID_BEFORE
    assert set(new.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {CLIENT}
    assert {name for name in pki if fork[name] != pki[name]} == {name for name in pki if name.startswith("clients/")}


@pytest.mark.parametrize("path", ["pki/ca", "pki/etcd/ca", "pki/front-proxy-ca"])
def test_ca_may_sign_and_its_key_is_its_own(pki: dict[str, str], path: str) -> None:
    authority = certificate(pki, path)
    authority.verify_directly_issued_by(authority)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert load_pem_private_key(pki[f"{path}.key"].encode(), None).public_key() == authority.public_key()


def test_the_three_cas_do_not_vouch_for_one_another(pki: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"(?i)issuer|signature"):
        certificate(pki, "pki/etcd/server").verify_directly_issued_by(certificate(pki, "pki/ca"))
    with pytest.raises(Exception, match=r"(?i)issuer|signature"):
        certificate(pki, "pki/apiserver").verify_directly_issued_by(certificate(pki, "pki/front-proxy-ca"))


def test_api_server_serves_under_every_name_it_is_dialled_by(pki: dict[str, str]) -> None:
    names = certificate(pki, "pki/apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "node01",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    }
    addresses = {"127.0.0.1", "10.96.0.1", "192.168.66.101"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {IPv4Address(address) for address in addresses}


def api_server_names(advertised: str) -> list[str]:
    pki = issue_pki(spec_of(workers=0), NOW, Settings(advertise_host=advertised).advertised)
    found = certificate(pki, "pki/apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


@pytest.mark.parametrize(
    ("advertised", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("fe80::7%ü", "fe80::7"),
        ("::ffff:192.0.2.7", str(ip_address("::ffff:192.0.2.7"))),
        ("lab.example", "lab.example"),
        ("Lab.Example", "lab.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("300.0.2.7", "300.0.2.7"),  # a host name for the settings
        (LONGEST_NAME, LONGEST_NAME),
    ],
)
def test_api_server_serves_under_the_advertised_host_too(advertised: str, name: str) -> None:
    assert sorted(api_server_names(advertised)) == sorted([*api_server_names("127.0.0.1"), name])


@pytest.mark.parametrize("advertised", ["0.0.0.0", "::", "::%eth0"])  # noqa: S104
def test_every_address_is_no_name_of_the_api_server(advertised: str) -> None:
    assert api_server_names(advertised) == api_server_names("127.0.0.1")


@pytest.mark.parametrize("advertised", ["127.0.0.1", "localhost", "LocalHost", "Node01", "192.168.66.101"])
def test_api_server_has_each_name_once(advertised: str) -> None:
    names = api_server_names(advertised)
    assert len(names) == len(set(names)) == 9


@pytest.mark.parametrize(
    ("advertised", "check"),
    [("192.0.2.7", "-verify_ip"), ("2001:db8::7", "-verify_ip"), ("lab.example", "-verify_hostname")],
)
def test_openssl_verifies_the_advertised_host(advertised: str, check: str, tmp_path: Path) -> None:
    pki = issue_pki(spec_of(workers=0), NOW, advertised)
    for name in ("ca.crt", "apiserver.crt"):
        (tmp_path / name).write_text(pki[f"pki/{name}"])
    argv = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", "ca.crt"]
    subprocess.run([*argv, check, advertised, "apiserver.crt"], cwd=tmp_path, capture_output=True, check=True)


def test_the_advertised_host_is_a_name_of_no_other_server() -> None:
    advertised = issue_pki(spec_of(workers=2), NOW, "lab.example")
    valid = {
        path
        for path, text in advertised.items()
        if path.endswith(".crt")
        and b"lab.example" in x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    }
    assert valid == {"pki/apiserver.crt"}


def test_kubelet_serves_under_its_own_name_and_address_only(pki: dict[str, str]) -> None:
    cert = certificate(pki, "nodes/node03/pki/kubelet")
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"node03", "localhost"}
    assert IPv4Address("192.168.66.103") in names.get_values_for_type(x509.IPAddress)
    assert IPv4Address("192.168.66.101") not in names.get_values_for_type(x509.IPAddress)


@pytest.mark.parametrize("path", KUBECONFIGS)
def test_component_kubeconfig_identifies_its_component(pki: dict[str, str], path: str) -> None:
    document = yaml.safe_load(pki[path])
    user = document["users"][0]["user"]
    cert = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    cert.verify_directly_issued_by(certificate(pki, "pki/ca"))
    common_name, organization = KUBECONFIGS[path]
    assert attribute(cert, NameOID.COMMON_NAME) == common_name
    assert attribute(cert, NameOID.ORGANIZATION_NAME) == organization
    key = load_pem_private_key(base64.b64decode(user["client-key-data"]), None)
    assert key.public_key() == cert.public_key()
    cluster = document["clusters"][0]["cluster"]
    assert cluster["server"] == "https://192.168.66.101:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]).decode() == pki["pki/ca.crt"]


def test_every_certificate_is_valid_from_a_day_ago_for_ten_years(pki: dict[str, str]) -> None:
    certificates = [
        x509.load_pem_x509_certificate(text.encode()) for path, text in pki.items() if path.endswith(".crt")
    ]
    assert {c.not_valid_before_utc for c in certificates} == {NOW - VALID_BEFORE}
    assert {c.not_valid_after_utc for c in certificates} == {NOW - VALID_BEFORE + VALID_FOR}
    assert timedelta(hours=12) < VALID_BEFORE < VALID_FOR


def test_service_account_keys_are_a_pair(pki: dict[str, str]) -> None:
    private = load_pem_private_key(pki["pki/sa.key"].encode(), None)
    assert private.public_key() == load_pem_public_key(pki["pki/sa.pub"].encode())


def test_every_node_has_an_identity_and_no_other_has(pki: dict[str, str]) -> None:
    assert {path.split("/")[1] for path in pki if path.startswith("nodes/")} == {"node01", "node02", "node03"}


def test_two_clusters_share_nothing(pki: dict[str, str]) -> None:
    other = issue_pki(spec_of(workers=2), NOW)
    assert other.keys() == pki.keys()
    assert not set(other.values()) & set(pki.values())
    serials = {
        x509.load_pem_x509_certificate(text.encode()).serial_number for p, text in pki.items() if p.endswith(".crt")
    }
    assert len(serials) == len([path for path in pki if path.endswith(".crt")])


def test_ca_hash_is_of_the_public_key(pki: dict[str, str]) -> None:
    spki = certificate(pki, "pki/ca").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    computed = subprocess.run(["sha256sum"], input=spki, capture_output=True, check=True).stdout.split()[0].decode()
    assert ca_hash(pki) == f"sha256:{computed}"


@pytest.mark.parametrize("path", LEAVES)
def test_openssl_agrees(pki: dict[str, str], path: str, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "Debian's openssl belongs to what this project's tests need"
    ca, _, _, usages = LEAVES[path]
    (tmp_path / "ca.crt").write_text(pki[f"{ca}.crt"])
    (tmp_path / "leaf.crt").write_text(pki[f"{path}.crt"])
    for usage, purpose in ((SERVER, "sslserver"), (CLIENT, "sslclient")):
        verdict = subprocess.run(
            [
                *(openssl, "verify", "-x509_strict", "-purpose", purpose),
                *("-attime", str(int(NOW.timestamp())), "-CAfile", "ca.crt", "leaf.crt"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verdict.returncode == 0) == (usage in usages), verdict.stderr


def test_every_private_key_is_on_an_elliptic_curve() -> None:
    """An RSA key takes a thousand times as long to generate, and each request for a cluster waits for all keys."""
    files = issue_pki(spec_of(workers=4), NOW)
    keys = [text for path, text in files.items() if path.endswith(".key")]
    identities = [yaml.safe_load(text)["users"][0]["user"] for path, text in files.items() if path.endswith(".conf")]
    keys += [base64.b64decode(identity["client-key-data"]).decode() for identity in identities]
    assert len(keys) > len(LEAVES)
    for pem in keys:
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.curve.name == "secp256r1"
