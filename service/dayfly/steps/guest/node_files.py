"""The files that a node gets before it becomes part of a Kubernetes cluster: its identity, and its share of the PKI.

The programs of a node image read them (domain/image.KubernetesNode).
"""

from __future__ import annotations

from typing import Final

from dayfly.domain.cluster.network import API_PORT, node_address
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.security.kubeconfig import CLIENTS
from dayfly.domain.security.pki import NODES, ca_hash
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import File
from dayfly.steps.guest.registry_names import registry_rules
from dayfly.steps.step import StepContext

CLUSTER_ENV: Final = "/etc/dayfly/cluster.env"
KUBERNETES_DIR: Final = "/etc/kubernetes"

_WORKER_SHARE: Final = frozenset({"pki/ca.crt"})


async def copy_node_files(context: StepContext) -> None:
    """Give this node its files, with the rules for its registry. Raises SshTimeout."""
    files = node_files(context.spec, context.secrets, context.this_node, emulated=context.limits.emulated)
    files += await registry_rules(context)
    await context.drivers.ssh.put(await context.ssh_target(), files, timeout=context.limits.command)


def node_files(spec: ClusterSpec, secrets: ClusterSecrets, node: Node, *, emulated: bool) -> tuple[File, ...]:
    """The files of `node`, all readable by root only but the certificates.

    A worker gets the cluster CA's certificate and its own identity: no CA key, no administrator's kubeconfig.
    """
    pki = pki_share(secrets, node)
    files = (File(f"{KUBERNETES_DIR}/{path}", text.encode(), _mode(path)) for path, text in pki.items())
    return (File(CLUSTER_ENV, _cluster_env(spec, secrets, node, emulated=emulated).encode()), *files)


def pki_share(secrets: ClusterSecrets, node: Node) -> dict[str, str]:
    """Path below /etc/kubernetes → text, of the files that `node` may have."""
    own = f"{NODES}/{node.name}/"
    share = {path.removeprefix(own): text for path, text in secrets.pki.items() if path.startswith(own)}
    if node.role == "control-plane":
        others = (f"{NODES}/", f"{CLIENTS}/")
        return share | {path: text for path, text in secrets.pki.items() if not path.startswith(others)}
    return share | {path: text for path, text in secrets.pki.items() if path in _WORKER_SHARE}


def _cluster_env(spec: ClusterSpec, secrets: ClusterSecrets, node: Node, *, emulated: bool) -> str:
    """Shell assignments. Values have only letters, digits and `.:-`, so none is quoted."""
    values = {
        "DAYFLY_NODE_INDEX": str(node.index),
        "DAYFLY_NODE_COUNT": str(spec.node_count),
        "DAYFLY_NODE_NAME": node.name,
        "DAYFLY_NODE_ADDRESS": node_address(node.index),
        "DAYFLY_CONTROL_PLANE": f"{node_address(1)}:{API_PORT}",
        "DAYFLY_TOKEN": secrets.bootstrap_token,
        "DAYFLY_CA_HASH": ca_hash(secrets.pki),
        "DAYFLY_EMULATED": "1" if emulated else "0",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _mode(path: str) -> int:
    return 0o644 if path.endswith((".crt", ".pub")) else 0o600
