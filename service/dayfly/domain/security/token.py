"""API tokens: their text, its hash, and what is known of a token. Values and rules; the secret itself is never kept.

A secret has 256 random bits: SHA-256 suffices as its hash, and no slow one is needed.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from dayfly.domain.security.principal import Principal, Role
from dayfly.vocabulary import TokenKind

PREFIX: Final = "dfly_"
"""Of every token: programs that search texts for secrets find tokens by it."""
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"dfly_([0-9a-f]{12})_([0-9a-f]{64})")


@dataclass(frozen=True)
class Token:
    """What is known of a token. `name`: the service account or person that has the token. Times in UTC."""

    id: str
    team: str
    name: str
    kind: TokenKind
    role: Role
    description: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def principal(self) -> Principal:
        return Principal(f"token:{self.id}", self.team, self.role)


def new_secret() -> str:
    return secrets.token_hex(_SECRET_BYTES)


def token_text(token_id: str, secret: str) -> str:
    """The token as its holder has it: `dfly_<id>_<secret>`."""
    return f"{PREFIX}{token_id}_{secret}"


def token_id_of(text: str) -> str | None:
    """The id in a token's text; None: the text is no token."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else found[1]


def token_hash(text: str) -> str:
    """The hash of a token's text, which is kept in place of the secret."""
    return sha256(text.encode()).hexdigest()


def is_same_hash(one: str, other: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)
