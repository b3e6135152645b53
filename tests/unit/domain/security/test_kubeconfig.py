"""A caller's kubeconfig verifies TLS behind any host and port."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import yaml
from cryptography import x509

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest, KubernetesNode, NodeSize
from dayfly.domain.security.kubeconfig import client_identity, render_kubeconfig
from dayfly.domain.security.secrets import ClusterSecrets, new_secrets

SIZE = NodeSize(vcpus=2, memory_mib=2048, disk_gib=10)


def secrets() -> ClusterSecrets:
    kubernetes = KubernetesNode(version="v1.20.2", smoke_image="dayfly.local/smoke:1")
    manifest = ImageManifest(recipe="k", control_plane=SIZE, worker=SIZE, minimum=SIZE, kubernetes=kubernetes)
    spec = ClusterSpec(image="k", image_id="sha256:0", manifest=manifest, control_plane=SIZE, worker=SIZE)
    return new_secrets(spec, datetime(2030, 5, 17, tzinfo=UTC))


def test_server_is_the_endpoint_and_the_name_a_san() -> None:
    made = secrets()
    document = yaml.safe_load(render_kubeconfig("demo", made.pki, Endpoint("lab.example", 40123)))
    cluster = document["clusters"][0]["cluster"]
    assert cluster["server"] == "https://lab.example:40123"
    served = x509.load_pem_x509_certificate(made.pki["pki/apiserver.crt"].encode())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert cluster["tls-server-name"] in names.get_values_for_type(x509.DNSName)
    assert base64.b64decode(cluster["certificate-authority-data"]).decode() == made.pki["pki/ca.crt"]
    assert "insecure-skip-tls-verify" not in cluster


def test_current_context_leads_to_the_cluster_and_the_callers_own_identity() -> None:
    made = secrets()
    document = yaml.safe_load(render_kubeconfig("demo", made.pki, Endpoint("127.0.0.1", 40123)))
    assert document["current-context"] == "demo"
    context = document["contexts"][0]["context"]
    assert context["cluster"] == document["clusters"][0]["name"]
    assert context["user"] == document["users"][0]["name"]
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-key-data"]).decode() == made.pki["clients/caller.key"]
    # Neither the service's own key nor the one on the control plane's disk leaves with it.
    assert made.pki["clients/dayfly.key"] not in base64.b64decode(user["client-key-data"]).decode()


def test_a_key_is_never_in_a_representation() -> None:
    made = secrets()
    identity = client_identity(made.pki, "caller")
    assert "PRIVATE KEY" not in repr(identity)
    assert "PRIVATE KEY" not in repr(made)
    assert made.bootstrap_token not in repr(made)
