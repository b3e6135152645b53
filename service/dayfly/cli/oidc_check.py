"""`dayfly oidc check`, which reads the file as the server does: cli/oidc.py imports it on use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_table, printable_line
from dayfly.domain.security.claim_expression import Claims, claims_of, evaluate
from dayfly.domain.security.oidc import Issuer, OidcRules, Rule, principal_by
from dayfly.oidc.rules_file import read_rules
from dayfly.vocabulary import OutputFormat

_MAX_SHOWN = 80
_OUTCOMES = {True: "matches", False: "does not match", None: "cannot match"}


@dataclass(frozen=True)
class _Tried:
    """A rule and the claims. `outcome`: `matches`, `does not match`, or `cannot match` for claims that do not serve."""

    rule: str
    outcome: str
    because: tuple[str, ...]
    """The claims of its expression, with their values."""


@dataclass(frozen=True)
class _Verdict:
    issuer: str
    principal: str | None
    team: str | None
    role: str | None
    bounds: dict[str, int]
    rules: tuple[_Tried, ...]
    """In their order, up to the one that matches."""
    warnings: tuple[str, ...]
    """Why a server would refuse the token whatever the rules say."""


def check(file: Path, claims: Path | None, issuer: str | None, output: OutputFormat | None, *, as_json: bool) -> int:
    """The exit code. Raises OidcFileInvalid, CommandError."""
    rules = read_rules(file)
    if claims is None:
        issuers = [{"name": one.name, "url": one.url, "rules": len(list(rules.rules_of(one)))} for one in rules.issuers]
        emit({"valid": True, "issuers": issuers}, _summary(file, rules), output, as_json)
        return ExitCode.OK
    given = _read_claims(claims)
    verdict = _judge(rules, _issuer(rules, given, issuer), given)
    emit(asdict(verdict), _text(verdict), output, as_json)
    return ExitCode.OK if verdict.team is not None else ExitCode.ERROR


def _summary(file: Path, rules: OidcRules) -> str:
    rows = [
        (
            one.name,
            one.url,
            ", ".join(one.audiences),
            ", ".join(one.algorithms),
            str(len(list(rules.rules_of(one)))),
            one.client_id or "-",
        )
        for one in rules.issuers
    ]
    table = format_table(("ISSUER", "URL", "AUDIENCES", "ALGORITHMS", "RULES", "CLIENT"), rows)
    idle = [f"no rule is for the issuer {one.name}: its tokens are refused" for one in _without_rules(rules)]
    return "\n".join([f"{file} is valid", table, *idle])


def _without_rules(rules: OidcRules) -> Sequence[Issuer]:
    return [issuer for issuer in rules.issuers if not list(rules.rules_of(issuer))]


def _read_claims(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise _unusable(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _unusable(f"{path} is no JSON object of claims")
    return content


def _issuer(rules: OidcRules, claims: Claims, name: str | None) -> Issuer:
    known = ", ".join(one.name for one in rules.issuers) or "none"
    if name is not None:
        found = next((one for one in rules.issuers if one.name == name), None)
        if found is None:
            raise _unusable(f"the file has no issuer {name!r}; it has: {known}")
        return found
    found = rules.issuer_at(claims.get("iss"))
    if found is None:
        claimed = _shown(claims.get("iss"))
        raise _unusable(f"no issuer has the URL of the claim `iss`, {claimed}: give --issuer; the file has: {known}")
    return found


def _judge(rules: OidcRules, issuer: Issuer, claims: Claims) -> _Verdict:
    match = rules.first_match(issuer, claims)
    tried = []
    for rule in rules.rules_of(issuer):
        tried.append(_try(rule, claims))
        if rule is match:
            break
    principal = None if match is None else principal_by(match, issuer, str(claims.get("sub", "SUBJECT")))
    return _Verdict(
        issuer=issuer.name,
        principal=None if principal is None else principal.name,
        team=None if principal is None else principal.team,
        role=None if principal is None else principal.role.value,
        bounds={} if principal is None else {n: v for n, v in asdict(principal.bounds).items() if v is not None},
        rules=tuple(tried),
        warnings=tuple(_warnings(issuer, claims)),
    )


def _try(rule: Rule, claims: Claims) -> _Tried:
    named = dict.fromkeys(claims_of(rule.when))
    because = [f"{one.name} is {'missing' if one.is_missing(claims) else _shown(one.value(claims))}" for one in named]
    return _Tried(rule.name, _OUTCOMES[evaluate(rule.when, claims)], tuple(because))


def _warnings(issuer: Issuer, claims: Claims) -> list[str]:
    warnings = []
    if claims.get("iss", issuer.url) != issuer.url:
        warnings.append(f"`iss` is {_shown(claims['iss'])}, and the issuer's URL is {issuer.url}")
    audience = claims.get("aud")
    if not any(one in issuer.audiences for one in (audience if isinstance(audience, list) else [audience])):
        warnings.append(f"`aud` is {_shown(audience)}, and the issuer's audiences are {', '.join(issuer.audiences)}")
    warnings.extend(f"there is no claim `{name}`" for name in ("sub", "exp", "iat") if claims.get(name) is None)
    return warnings


def _text(verdict: _Verdict) -> str:
    lines = []
    for tried in verdict.rules:
        because = f": {'; '.join(tried.because)}" if tried.because else ""
        lines.append(printable_line(f"{tried.rule} {tried.outcome}{because}"))
    if verdict.team is None:
        lines.append(f"no rule for the issuer {verdict.issuer} matches: a server answers 403 no_rule_matches")
    else:
        bounds = "".join(f", {name} {value}" for name, value in verdict.bounds.items())
        lines.append(printable_line(f"{verdict.principal}: team {verdict.team}, role {verdict.role}{bounds}"))
    lines += [printable_line(f"but a server refuses this token: {warning}") for warning in verdict.warnings]
    return "\n".join(lines)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _unusable(detail: str) -> CommandError:
    return CommandError("invalid_request", detail, exit_code=ExitCode.USAGE)
