"""OIDC of an installation, as data: issuers of tokens, and the rules that make a principal of a token's claims.

Not here: the file that holds them (oidc/rules_file.py), tokens and their signatures (oidc/authenticator.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.domain.security.claim_expression import Claims, Expression, holds
from dayfly.domain.security.principal import Bounds, Principal, Role

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Of signatures that are accepted: asymmetric ones alone. An issuer's key is public: with HMAC anyone could sign."""
DEFAULT_ALGORITHMS: Final = ("RS256",)
"""The algorithm that every OIDC issuer has."""
DEFAULT_LEEWAY_SECONDS: Final = 60
DEFAULT_SCOPES: Final = ("openid",)


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens. `url`: the claim `iss` to the letter; its discovery document is below that URL.

    `audiences`: a token must be for one of them. `ca_file`: the certificate authorities of the issuer, in place of
    those that are trusted elsewhere. `allow_http`: plain HTTP on a loopback address, for trials. `client_id`: of
    `dayfly login --oidc`; None: people cannot log in by this issuer.
    """

    name: str
    url: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    leeway_seconds: int = DEFAULT_LEEWAY_SECONDS
    ca_file: Path | None = None
    allow_http: bool = False
    client_id: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES


@dataclass(frozen=True)
class Rule:
    """`when` holds of a token of the issuer named `issuer`: its principal has this team, role and bounds."""

    name: str
    issuer: str
    when: Expression
    team: str
    role: Role
    bounds: Bounds

    def applies(self, issuer: Issuer, claims: Claims) -> bool:
        return self.issuer == issuer.name and holds(self.when, claims)


@dataclass(frozen=True)
class OidcRules:
    """All issuers, and the rules in the order in which they are tried."""

    issuers: tuple[Issuer, ...] = ()
    rules: tuple[Rule, ...] = ()

    def issuer_at(self, url: object) -> Issuer | None:
        """The issuer with this claim `iss`."""
        return next((issuer for issuer in self.issuers if issuer.url == url), None)

    def rules_of(self, issuer: Issuer) -> Iterator[Rule]:
        return (rule for rule in self.rules if rule.issuer == issuer.name)

    def first_match(self, issuer: Issuer, claims: Claims) -> Rule | None:
        """The first rule that applies: it decides alone."""
        return next((rule for rule in self.rules if rule.applies(issuer, claims)), None)


def principal_by(rule: Rule, issuer: Issuer, subject: str) -> Principal:
    return Principal(f"oidc:{issuer.name}:{subject}", rule.team, rule.role, rule.bounds)
