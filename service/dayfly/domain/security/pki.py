"""A cluster's PKI, created in milliseconds by Dayfly: kubeadm's own phases take minutes under emulation.

Dayfly knows the CA's hash before the first node boots, and never reads a kubeconfig from a node. Names and paths are
kubeadm's. Not here: the files of each node (steps/guest/node_files.py), and callers' kubeconfigs (kubeconfig.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dayfly.domain.cluster.network import API_PORT, node_address
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.security.kubeconfig import CLIENTS, ClientIdentity, kubeconfig

if TYPE_CHECKING:
    from collections.abc import Mapping

VALID_BEFORE: Final = timedelta(days=1)
"""A guest's clock may lag: by seconds after an emulated boot, by more after the restore of a template."""
VALID_FOR: Final = timedelta(days=3650)
"""All certificates are valid as long as the CA: an ephemeral cluster ends by deletion, not by expired certificates."""

NODES: Final = "nodes"
"""`nodes/<name>/<path>`: the file at `<path>` of one node only."""

_KUBERNETES_SERVICE: Final = "10.96.0.1"
"""The first address of kubeadm's default service subnet: the API server's address for pods."""
_SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_ADMINISTRATORS: Final = "system:masters"


@dataclass(frozen=True)
class _Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return _pem(self.certificate)


@dataclass(frozen=True)
class _Leaf:
    common_name: str
    usages: tuple[x509.ObjectIdentifier, ...]
    organization: str | None = None
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def issue_pki(spec: ClusterSpec, now: datetime, advertised: str = "127.0.0.1") -> dict[str, str]:
    """A new PKI for a cluster of `spec`: path below /etc/kubernetes → PEM or YAML text.

    `advertised`: the host in callers' kubeconfigs, which the API server's certificate is valid for.

    Two families of paths are not files of the control plane: `nodes/<name>/…` belongs to one node only, and
    `clients/…` holds the identities of callers and of Dayfly itself, which no node ever gets.
    All keys are ECDSA P-256. Certificates are valid from VALID_BEFORE before `now` for VALID_FOR.
    """
    start = now - VALID_BEFORE
    authority = _new_signer("kubernetes", start)
    etcd = _new_signer("etcd-ca", start)
    front_proxy = _new_signer("front-proxy-ca", start)
    signers = {"pki/ca": authority, "pki/etcd/ca": etcd, "pki/front-proxy-ca": front_proxy}
    files = {f"{path}.crt": signer.pem for path, signer in signers.items()}
    files |= {f"{path}.key": _private_pem(signer.key) for path, signer in signers.items()}
    files |= _service_account_keys()

    first = spec.nodes()[0]
    for path, signer, leaf in (
        ("pki/apiserver", authority, _api_server(first, advertised)),
        (
            "pki/apiserver-kubelet-client",
            authority,
            _Leaf("kube-apiserver-kubelet-client", _CLIENT, _ADMINISTRATORS),
        ),
        ("pki/apiserver-etcd-client", etcd, _Leaf("kube-apiserver-etcd-client", _CLIENT, _ADMINISTRATORS)),
        ("pki/front-proxy-client", front_proxy, _Leaf("front-proxy-client", _CLIENT)),
        ("pki/etcd/server", etcd, _on_node(first, first.name, _SERVER + _CLIENT)),
        ("pki/etcd/peer", etcd, _on_node(first, first.name, _SERVER + _CLIENT)),
        (
            "pki/etcd/healthcheck-client",
            etcd,
            _Leaf("kube-etcd-healthcheck-client", _CLIENT, _ADMINISTRATORS),
        ),
        # Without these two, controller-manager and scheduler each take 35 s under emulation to create their own.
        ("pki/controller-manager", authority, _on_node(first, "kube-controller-manager", _SERVER)),
        ("pki/scheduler", authority, _on_node(first, "kube-scheduler", _SERVER)),
        *((path, authority, leaf) for path, leaf in _clients().items()),
    ):
        files |= _issue_files(path, signer, leaf, start)
    for node in spec.nodes():
        serving = _on_node(node, f"system:node:{node.name}", _SERVER, "system:nodes")
        files |= _issue_files(f"{NODES}/{node.name}/pki/kubelet", authority, serving, start)
    return files | _kubeconfigs(spec, authority, start)


def reissue_clients(pki: Mapping[str, str], now: datetime) -> dict[str, str]:
    """`pki` of a fork: with new identities of callers and of Dayfly from the same CA. All other files stay the same."""
    certificate = x509.load_pem_x509_certificate(pki["pki/ca.crt"].encode())
    key = load_pem_private_key(pki["pki/ca.key"].encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a cluster's CA has a key on an elliptic curve")
    files = dict(pki)
    for path, leaf in _clients().items():
        files |= _issue_files(path, _Signer(certificate, key), leaf, now - VALID_BEFORE)
    return files


def ca_hash(pki: Mapping[str, str]) -> str:
    """`sha256:<hex>` of the cluster CA's public key (its DER SubjectPublicKeyInfo), which a joining node pins."""
    certificate = x509.load_pem_x509_certificate(pki["pki/ca.crt"].encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(spki).hexdigest()}"


def _clients() -> dict[str, _Leaf]:
    return {
        f"{CLIENTS}/caller": _Leaf("kubernetes-admin", _CLIENT, _ADMINISTRATORS),
        f"{CLIENTS}/dayfly": _Leaf("dayfly", _CLIENT, _ADMINISTRATORS),
    }


def _api_server(first: Node, advertised: str) -> _Leaf:
    leaf = _Leaf(
        "kube-apiserver",
        _SERVER,
        dns=(
            first.name,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ),
        addresses=("127.0.0.1", _KUBERNETES_SERVICE, node_address(first.index)),
    )
    # Some clients of Kubernetes ignore `tls-server-name`, and verify the host that they dial.
    return _valid_for(leaf, advertised)


def _valid_for(leaf: _Leaf, host: str) -> _Leaf:
    """`leaf`, also valid for `host`: a DNS name or an IP address in the form that settings.py accepts."""
    try:
        # Without its zone (`%eth0`), which means something on one machine only, and which no certificate has.
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return replace(leaf, dns=tuple(dict.fromkeys((*leaf.dns, host.lower()))))
    if address.is_unspecified:
        return leaf  # the server listens on every address: callers dial another one
    return replace(leaf, addresses=tuple(dict.fromkeys((*leaf.addresses, str(address)))))


def _on_node(
    node: Node, common_name: str, usages: tuple[x509.ObjectIdentifier, ...], organization: str | None = None
) -> _Leaf:
    """A certificate of a server on `node`, reached locally or by the node's name or address."""
    return _Leaf(common_name, usages, organization, (node.name, "localhost"), (node_address(node.index), "127.0.0.1"))


def _kubeconfigs(spec: ClusterSpec, authority: _Signer, start: datetime) -> dict[str, str]:
    """The kubeconfigs that Kubernetes' own components use, by their paths."""
    users = {
        "admin.conf": _Leaf("kubernetes-admin", _CLIENT, _ADMINISTRATORS),
        # It holds the CA's key, so this grants it nothing more; and it need not create a service account for each of
        # its controllers, which is slow under emulation.
        "controller-manager.conf": _Leaf("system:kube-controller-manager", _CLIENT, _ADMINISTRATORS),
        "scheduler.conf": _Leaf("system:kube-scheduler", _CLIENT),
    }
    users |= {
        # A kubelet with a certificate needs no signing request, and so no controller manager, to start.
        f"{NODES}/{node.name}/kubelet.conf": _Leaf(f"system:node:{node.name}", _CLIENT, "system:nodes")
        for node in spec.nodes()
    }
    server = f"https://{node_address(1)}:{API_PORT}"
    files = {}
    for path, leaf in users.items():
        certificate, key = _issue(authority, leaf, start)
        identity = ClientIdentity(leaf.common_name, _pem(certificate), _private_pem(key))
        files[path] = kubeconfig("kubernetes", server, authority.pem, identity)
    return files


def _new_signer(common_name: str, start: datetime) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, None)
    builder = (
        _builder(name, name, key, start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
    )
    return _Signer(builder.sign(key, hashes.SHA256()), key)


def _issue(signer: _Signer, leaf: _Leaf, start: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key_id = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name(leaf.common_name, leaf.organization), signer.certificate.subject, key, start)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False)
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in leaf.dns]
    names += [x509.IPAddress(ip_address(address)) for address in leaf.addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer.key, hashes.SHA256()), key


def _issue_files(path: str, signer: _Signer, leaf: _Leaf, start: datetime) -> dict[str, str]:
    certificate, key = _issue(signer, leaf, start)
    return {f"{path}.crt": _pem(certificate), f"{path}.key": _private_pem(key)}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, organization: str | None) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Signatures, and those of certificates only where it is an authority's."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _service_account_keys() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {"pki/sa.key": _private_pem(key), "pki/sa.pub": public}


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    # "EC PRIVATE KEY", not PKCS #8: every release of Kubernetes reads and writes this form.
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
