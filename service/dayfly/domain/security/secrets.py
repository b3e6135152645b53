"""The secrets of one cluster: created once by Dayfly, kept by the store, deleted with the cluster.

No secret is ever logged, or part of an event, an error or an image.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import BaseModel, ConfigDict, Field

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.security.pki import issue_pki, reissue_clients
from dayfly.domain.security.redaction import Redactor

_KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_KEY_DATA: Final = re.compile(r"client-key-data: *(\S+)")


class SshKeyPair(BaseModel):
    """An ed25519 key pair in OpenSSH's text form."""

    model_config = ConfigDict(frozen=True)

    private: str = Field(repr=False)
    public: str


class ClusterSecrets(BaseModel):
    """All secrets of one cluster. `pki` maps a path below /etc/kubernetes to PEM text; empty without Kubernetes."""

    model_config = ConfigDict(frozen=True)

    user_key: SshKeyPair
    """Gives Dayfly and the caller access to every node."""
    host_key: SshKeyPair
    """The host key of every node of this cluster, which clients pin."""
    bootstrap_token: str = Field(repr=False)
    pki: Mapping[str, str] = Field(default_factory=dict, repr=False)

    def redact(self, text: str) -> str:
        """`text` without these secrets, without any single line of their keys, and without any other private key.

        Base64 of keys, as Kubernetes' Secrets have it, and keys within JSON are removed as well (redaction.py).
        """
        text = _KEY_BLOCK.sub("[private key]", text)
        # kubeadm prints the join command, with the token.
        text = text.replace(self.bootstrap_token, "[token]").replace(self.bootstrap_token.partition(".")[2], "[token]")
        return self._redactor.redact(text)

    @cached_property
    def _redactor(self) -> Redactor:
        keys = [text for path, text in self.pki.items() if path.endswith(".key")]
        data = [data for text in self.pki.values() for data in _KEY_DATA.findall(text)]
        token = self.bootstrap_token.partition(".")[2]
        return Redactor((self.user_key.private, self.host_key.private, *keys, *data, token))


def new_secrets(spec: ClusterSpec, now: datetime, advertised: str = "127.0.0.1") -> ClusterSecrets:
    """New secrets for a cluster of `spec`; certificates are valid from VALID_BEFORE before `now`.

    `advertised`: the host in callers' kubeconfigs, which the API server's certificate is valid for.
    """
    return ClusterSecrets(
        user_key=new_key_pair("dayfly"),
        host_key=new_key_pair("dayfly-node"),
        bootstrap_token=f"{secrets.token_hex(3)}.{secrets.token_hex(8)}",
        pki=issue_pki(spec, now, advertised) if spec.manifest.kubernetes is not None else {},
    )


def fork_secrets(template: ClusterSecrets, now: datetime) -> ClusterSecrets:
    """The secrets of a fork of a template with the secrets `template`.

    New are the secrets that give access: both SSH key pairs, and the identities of the caller and of Dayfly. All other
    secrets are in the memory of the template's machines, and stay the same: the API server's certificate is valid for
    the host that was advertised when the template was created.
    """
    return ClusterSecrets(
        user_key=new_key_pair("dayfly"),
        host_key=new_key_pair("dayfly-node"),
        bootstrap_token=template.bootstrap_token,
        pki=reissue_clients(template.pki, now) if template.pki else {},
    )


def new_key_pair(comment: str) -> SshKeyPair:
    """A new key pair."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return SshKeyPair(private=private, public=f"{public} {comment}")
