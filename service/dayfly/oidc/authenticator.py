"""Bearer tokens of OIDC issuers (JWT) → principals. PyJWT and cryptography verify; the rules of the file decide.

Headers of a token that name keys (`jku`, `jwk`, `x5u`, `x5c`) have no effect: keys come from the issuer's own
documents. Not here: other kinds of tokens, and the request that a token comes with.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import jwt
import structlog

from dayfly.clock import Clock
from dayfly.domain.security.oidc import ALGORITHMS, Issuer, OidcRules, Rule, principal_by
from dayfly.domain.security.principal import Principal
from dayfly.errors import NoRuleMatches, NotFound, TokenRefused
from dayfly.oidc.issuer_documents import fetch_keys
from dayfly.oidc.issuer_keys import Fetch, IssuerKeys

MAX_CHARACTERS: Final = 8192
"""Of a token. Those of CI systems have about 2,000."""
MAX_SUBJECT: Final = 512
TEAM_SECONDS: Final = 5.0
"""A team that existed so long ago is looked up again."""
_MAX_NAMED_CLAIMS: Final = 50
_JWT: Final = re.compile(r"[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*")
_CLAIM: Final = re.compile(r"[\x21-\x7e]{1,100}")
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat"]
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet: its `nbf` or `iat` is in the future",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidAlgorithmError: "its algorithm is not accepted",
    jwt.InvalidSignatureError: "its signature does not fit",
}
"""An error's nearest class in this table decides."""

FindTeam = Callable[[str], Awaitable[object]]

_log = structlog.get_logger(__name__)


class OidcAuthenticator:
    """`rules`: those in force, asked at each token. `find_team` raises NotFound for a team that does not exist."""

    def __init__(
        self, rules: Callable[[], OidcRules], find_team: FindTeam, clock: Clock, fetch: Fetch = fetch_keys
    ) -> None:
        self._rules, self._find_team, self._clock, self._fetch = rules, find_team, clock, fetch
        self._keys: dict[Issuer, IssuerKeys] = {}
        self._teams_until: dict[str, float] = {}
        """Team → until when its existence is not looked up again (Clock.monotonic)."""

    async def authenticate(self, bearer: str) -> Principal | None:
        """The principal of a token; None: it is no JWT, so another kind of token.

        Raises TokenRefused, NoRuleMatches, IssuerUnavailable.
        """
        if len(bearer) > MAX_CHARACTERS:
            # Only a JWT is so long; other kinds have fewer than a hundred characters.
            raise TokenRefused(f"the token has more than {MAX_CHARACTERS} characters")
        if not _JWT.fullmatch(bearer):
            return None
        rules = self._rules()
        issuer = _issuer_of(bearer, rules)
        claims = await self._verified(bearer, issuer)
        subject = claims["sub"]
        if not subject or not subject.isprintable() or len(subject) > MAX_SUBJECT:
            raise TokenRefused(f"the token's `sub` is not a printable text of at most {MAX_SUBJECT} characters")
        rule = rules.first_match(issuer, claims)
        if rule is None:
            raise NoRuleMatches(
                f"no rule for the issuer {issuer.name} matches the token, which has these claims: {_names(claims)}"
            )
        await self._require_team(rule)
        return principal_by(rule, issuer, subject)

    async def _require_team(self, rule: Rule) -> None:
        now = self._clock.monotonic()
        if now < self._teams_until.get(rule.team, now):
            return
        try:
            await self._find_team(rule.team)
        except NotFound as error:
            _log.warning("a rule names a team that does not exist", rule=rule.name, team=rule.team)
            raise NoRuleMatches(f"{rule.name} matches the token, but its team {rule.team} does not exist") from error
        # The rules name few teams; those of former rules do no harm.
        self._teams_until[rule.team] = now + TEAM_SECONDS

    async def _verified(self, bearer: str, issuer: Issuer) -> Mapping[str, Any]:
        """The token's claims, once its signature, times and audience are right."""
        try:
            header = jwt.get_unverified_header(bearer)
        except jwt.PyJWTError as error:
            raise _refused(error) from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms or algorithm not in ALGORITHMS:
            raise TokenRefused(f"the token is not valid: the issuer {issuer.name} signs with {_or(issuer.algorithms)}")
        if "crit" in header:
            raise TokenRefused("the token is not valid: it demands extensions (`crit`) that are not known here")
        key = await self._keys_of(issuer).find(key_id, algorithm)
        try:
            claims: dict[str, Any] = jwt.decode(
                bearer,
                key,
                algorithms=[algorithm],
                audience=issuer.audiences,
                issuer=issuer.url,
                leeway=issuer.leeway_seconds,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise _refused(error) from error
        return claims

    def _keys_of(self, issuer: Issuer) -> IssuerKeys:
        if issuer not in self._keys:
            # Issuers that the file has no longer are forgotten; the file names few.
            kept = self._rules().issuers
            self._keys = {one: keys for one, keys in self._keys.items() if one in kept}
            self._keys[issuer] = IssuerKeys(issuer, self._clock, self._fetch)
        return self._keys[issuer]


def _issuer_of(bearer: str, rules: OidcRules) -> Issuer:
    """The issuer that the token claims to be of: nothing is verified yet."""
    try:
        claimed = jwt.decode(bearer, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError as error:
        raise _refused(error) from error
    issuer = rules.issuer_at(claimed)
    if issuer is None:
        raise TokenRefused("the token is not valid: its issuer is not one of this installation's")
    return issuer


def _refused(error: jwt.PyJWTError) -> TokenRefused:
    reason = next((_REASONS[one] for one in type(error).__mro__ if one in _REASONS), None)
    if reason is None and isinstance(error, jwt.MissingRequiredClaimError):
        reason = f"it has no claim `{error.claim}`"
    return TokenRefused(f"the token is not valid: {reason or 'it cannot be read'}")


def _names(claims: Mapping[str, Any]) -> str:
    """The names of the claims, without values: these may be secret to whoever reads a log."""
    shown = sorted(name for name in claims if _CLAIM.fullmatch(name))
    return ", ".join([*shown[:_MAX_NAMED_CLAIMS], *(["…"] if len(shown) > _MAX_NAMED_CLAIMS else [])])


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)
