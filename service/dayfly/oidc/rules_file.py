"""The file of OIDC issuers and rules (TOML, DAYFLY_OIDC_FILE), read again when it changes.

Not here: which rule matches (domain/security/oidc.py); tokens (authenticator.py).
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

import structlog
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dayfly.addresses import is_private_url
from dayfly.clock import Clock
from dayfly.domain.security.claim_expression_parser import parse
from dayfly.domain.security.oidc import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    DEFAULT_LEEWAY_SECONDS,
    DEFAULT_SCOPES,
    Issuer,
    OidcRules,
    Rule,
)
from dayfly.domain.security.principal import Bounds, Role
from dayfly.errors import OidcFileInvalid

MAX_BYTES: Final = 1 << 20
_MAX_REASONS: Final = 10
_LOOK_SECONDS: Final = 1.0
"""Between two looks at the file."""

_log = structlog.get_logger(__name__)


def _algorithm(value: str) -> str:
    if value not in ALGORITHMS:
        raise ValueError(f"{value} is not accepted: only signatures by asymmetric keys are, {', '.join(ALGORITHMS)}")
    return value


def _expression(value: str) -> str:
    parse(value)
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
Team = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(min_length=1, max_length=50)]
Limit = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Issuer(_Entry):
    name: Name
    url: Text
    audience: Texts
    algorithms: Annotated[tuple[Annotated[str, AfterValidator(_algorithm)], ...], Field(min_length=1)] = (
        DEFAULT_ALGORITHMS
    )
    leeway_seconds: Annotated[int, Field(ge=0, le=300, strict=True)] = DEFAULT_LEEWAY_SECONDS
    ca_file: Path | None = None
    allow_http: Annotated[bool, Field(strict=True)] = False
    client_id: Text | None = None
    scopes: Texts = DEFAULT_SCOPES

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not is_private_url(self.url, loopback_http=self.allow_http):
            raise ValueError(
                f"{self.url!r} is no https:// URL (with `allow_http = true` it may be http:// on a loopback address)"
            )
        if "?" in self.url or "#" in self.url:
            raise ValueError(f"{self.url!r}: the URL of an issuer has no `?` and no `#`")
        if self.client_id is not None and self.client_id not in self.audience:
            raise ValueError(
                f"`audience` lacks the client_id, {self.client_id!r}: tokens of people are for this audience"
            )
        if self.ca_file is not None and not self.ca_file.is_absolute():
            raise ValueError(f"ca_file: {str(self.ca_file)!r} is no absolute path")
        return self


class _Bounds(_Entry):
    max_ttl_seconds: Limit | None = None
    max_nodes: Limit | None = None
    max_vcpus: Limit | None = None
    max_memory_mib: Limit | None = None
    max_disk_gib: Limit | None = None


class _Rule(_Entry):
    name: Text | None = None
    issuer: str
    when: Annotated[str, AfterValidator(_expression)]
    team: Team
    role: Role
    bounds: _Bounds = _Bounds()


class _File(_Entry):
    issuers: tuple[_Issuer, ...] = ()
    rules: tuple[_Rule, ...] = ()


def read_rules(path: Path) -> OidcRules:
    """The issuers and rules of the file. Raises OidcFileInvalid, with all that is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OidcFileInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise OidcFileInvalid(f"{path} has more than {MAX_BYTES >> 20} MiB")
    try:
        given = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise OidcFileInvalid(f"{path} is not UTF-8, from byte {error.start} on") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OidcFileInvalid(f"{path} is not TOML: {error}") from error
    try:
        entries = _File.model_validate(given)
    except ValidationError as error:
        reasons = [_reason(given, one["loc"], one["msg"]) for one in error.errors(include_url=False)]
        raise _invalid(path, reasons) from error
    if reasons := list(_contradictions(entries)):
        raise _invalid(path, reasons)
    return _rules(entries)


class RulesFile:
    """The rules of a file, which is looked at again when it is used. A changed file with an error changes nothing.

    `problem`: what is wrong with the file as it is now; None: its rules are in force.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Reads the file. Raises OidcFileInvalid."""
        self._path, self._clock = path, clock
        self._state = self._look()
        self._looked_at = clock.monotonic()
        self._rules = read_rules(path)
        self.problem: str | None = None

    def current(self) -> OidcRules:
        """The rules in force. Never raises."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            # Before it is read: a change in the meantime is seen at the next look.
            if (state := self._look()) != self._state:
                self._state = state
                self._read_again()
        return self._rules

    def _read_again(self) -> None:
        try:
            self._rules = read_rules(self._path)
        except OidcFileInvalid as error:
            self.problem = error.message
            _log.error("the OIDC rules have an error; the former rules stay in force", reason=error.message)
        else:
            self.problem = None
            counts = {"issuers": len(self._rules.issuers), "rules": len(self._rules.rules)}
            _log.info("the OIDC rules were read again", file=str(self._path), **counts)

    def _look(self) -> tuple[int, ...] | None:
        """What tells a changed file from the former one; None: it cannot be found."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def _invalid(path: Path, reasons: Sequence[str]) -> OidcFileInvalid:
    shown = [*reasons[:_MAX_REASONS], *([f"and {rest} more"] if (rest := len(reasons) - _MAX_REASONS) > 0 else [])]
    return OidcFileInvalid(f"{path}: {'; '.join(shown)}")


def _reason(given: object, location: Sequence[int | str], message: str) -> str:
    """`rule 2 (main).when: column 5: …`: entries count from 1, as people do."""
    where, found = "", given
    for part in location:
        try:
            found = found[part]  # type: ignore[index] # of what pydantic went through
        except (TypeError, KeyError, IndexError):
            found = None
        if isinstance(part, int):
            name = found.get("name") if isinstance(found, dict) else None
            where = f"{where.removesuffix('s')} {part + 1}{f' ({name})' if isinstance(name, str) else ''}"
        else:
            where = f"{where}.{part}" if where else part
    return f"{where}: {message.removeprefix('Value error, ')}"


def _contradictions(entries: _File) -> Iterable[str]:
    names = [issuer.name for issuer in entries.issuers]
    yield from (f"two issuers have the name {name}" for name in _repeated(names))
    yield from (f"two issuers have the URL {url}" for url in _repeated(issuer.url for issuer in entries.issuers))
    for number, rule in enumerate(entries.rules, 1):
        if rule.issuer not in names:
            known = ", ".join(names) or "none"
            yield f"{_called(number, rule)}: there is no issuer {rule.issuer!r}; the file has: {known}"
    yield from (
        f"two rules have the name {name!r}" for name in _repeated(rule.name for rule in entries.rules if rule.name)
    )


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def _called(number: int, rule: _Rule) -> str:
    return f"rule {number}" if rule.name is None else f"rule {number} ({rule.name})"


def _rules(entries: _File) -> OidcRules:
    issuers = tuple(
        Issuer(
            name=one.name,
            url=one.url,
            audiences=one.audience,
            algorithms=one.algorithms,
            leeway_seconds=one.leeway_seconds,
            ca_file=one.ca_file,
            allow_http=one.allow_http,
            client_id=one.client_id,
            scopes=one.scopes,
        )
        for one in entries.issuers
    )
    rules = tuple(
        Rule(
            name=_called(number, one),
            issuer=one.issuer,
            when=parse(one.when),
            team=one.team,
            role=one.role,
            bounds=Bounds(**one.bounds.model_dump()),
        )
        for number, one in enumerate(entries.rules, 1)
    )
    return OidcRules(issuers, rules)
