"""What is secret of a cluster, and only of it: made once by Dayfly, kept by the store, deleted with the cluster.

Nothing here is ever logged, put into an event, an error or an image.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import BaseModel, ConfigDict, Field

from dayfly.domain.pki import issue_pki
from dayfly.domain.spec import ClusterSpec


class SshKeyPair(BaseModel):
    """An ed25519 key pair in OpenSSH's text form."""

    model_config = ConfigDict(frozen=True)

    private: str = Field(repr=False)
    public: str


class ClusterSecrets(BaseModel):
    """All secrets of one cluster. `pki` maps a path below /etc/kubernetes to PEM text; empty without Kubernetes."""

    model_config = ConfigDict(frozen=True)

    user_key: SshKeyPair
    """Lets us (and the caller) in on every node."""
    host_key: SshKeyPair
    """What every node of this cluster shows; pinned by the client."""
    bootstrap_token: str = Field(repr=False)
    pki: Mapping[str, str] = Field(default_factory=dict, repr=False)


def new_secrets(spec: ClusterSpec, now: datetime) -> ClusterSecrets:
    """Fresh secrets for a cluster of `spec`; certificates are valid from shortly before `now`."""
    return ClusterSecrets(
        user_key=_ssh_key_pair("dayfly"),
        host_key=_ssh_key_pair("dayfly-node"),
        bootstrap_token=f"{secrets.token_hex(3)}.{secrets.token_hex(8)}",
        pki=issue_pki(spec, now) if spec.manifest.kubernetes is not None else {},
    )


def _ssh_key_pair(comment: str) -> SshKeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return SshKeyPair(private=private, public=f"{public} {comment}")
