"""Rules: at which mirrors the suites of a Debian root file system are looked for, and in which order. All is pure.

The machine's apt may know the suite, another suite of Debian, or nothing of Debian. Not here: asking apt or a mirror
(apt.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

TARGETS: Final = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(CODENAME)"
"""The format of `apt-get indextargets` that this module parses."""

_FORWARDED: Final = ("Acquire::Check-", "Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv")
COMPONENT: Final = "main"
_DEBIAN: Final = frozenset({"Debian", "Debian Backports"})
_SECURITY: Final = "-security"
_ROLLING: Final = frozenset({"sid", "unstable", "experimental", "rc-buggy"})
"""Suites that have no suites of updates."""

Origin = Literal["DAYFLY_DEBIAN_MIRROR", "this machine's apt sources", "mmdebstrap's default"]


@dataclass(frozen=True)
class Entry:
    """A suite of an apt source. `release` is its folder below dists/.

    `origin` and `codename` are from its Release file; None where apt has not fetched that file.
    """

    uri: str
    release: str
    origin: str | None = None
    codename: str | None = None


@dataclass(frozen=True)
class Mirrors:
    """The settings DAYFLY_DEBIAN_MIRROR and DAYFLY_DEBIAN_SECURITY_MIRROR; None: use the machine's apt sources."""

    debian: str | None = None
    security: str | None = None


@dataclass(frozen=True)
class Release:
    """A needed suite. A suite that is not `required` is left out when no mirror has it."""

    name: str
    required: bool


def releases(suite: str, *, backports: bool) -> tuple[Release, ...]:
    """The suites of a root file system of `suite`, `suite` itself first."""
    wanted = [Release(suite, required=True)]
    if suite not in _ROLLING:
        wanted += [Release(f"{suite}-updates", required=False), Release(f"{suite}{_SECURITY}", required=False)]
    if backports:
        wanted.append(Release(f"{suite}-backports", required=True))
    return tuple(wanted)


def configured(suite: str, machine: Iterable[Entry], mirrors: Mirrors) -> tuple[Origin, tuple[Entry, ...]]:
    """The entries to search: the settings' where there are any, else the machine's."""
    origin: Origin = "this machine's apt sources"
    entries = tuple(machine)
    if mirrors.debian is not None:
        origin, entries = "DAYFLY_DEBIAN_MIRROR", (Entry(mirrors.debian.rstrip("/"), suite),)
    if mirrors.security is not None:
        kept = tuple(entry for entry in entries if not entry.release.endswith(_SECURITY))
        entries = (*kept, Entry(mirrors.security.rstrip("/"), f"{suite}{_SECURITY}"))
    return origin, entries


def candidates(release: str, suite: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The URIs that may have `release` of `suite`, in the order of the search."""
    exact = [entry.uri for entry in entries if release in {entry.release, entry.codename}]
    same = [entry.uri for entry in entries if suite in {entry.release, entry.codename}]
    archives = [*same, *(entry.uri for entry in entries if not entry.release.endswith(_SECURITY))]
    if release.endswith(_SECURITY):
        security = [entry.uri for entry in entries if entry.release.endswith(_SECURITY)]
        archives = [*security, *(_security_sibling(uri) for uri in archives), *archives]
    return tuple(dict.fromkeys((*exact, *archives)))


def parse_entries(configured_targets: str, fetched_targets: str = "") -> tuple[Entry, ...]:
    """The entries that may be Debian's in the output of `apt-get indextargets`, in the order of apt's sources.

    `configured_targets`: the output with --no-release-info, all targets; `fetched_targets`: the output without that
    option, only fetched targets.
    """
    known = {(uri, release): (origin, codename) for uri, release, origin, codename in _targets(fetched_targets)}
    found = []
    for uri, release, _, _ in _targets(configured_targets):
        origin, codename = known.get((uri, release), (None, None))
        # A CD's packages cannot be fetched by name. Another vendor's archive may use the names of Debian's suites.
        if not uri.startswith("cdrom:") and (origin is None or origin in _DEBIAN):
            found.append(Entry(uri, release, origin, codename))
    return tuple(dict.fromkeys(found))


def forwarded_options(dump: str) -> tuple[str, ...]:
    """The options for reaching mirrors in the output of `apt-config dump`: proxies, certificates, the clock's check."""
    return tuple(line for line in dump.splitlines() if line.startswith(_FORWARDED) and not line.endswith('"";'))


def without_credentials(text: str) -> str:
    """`text` without the name and password in its URIs."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def _targets(text: str) -> Iterable[tuple[str, str, str | None, str | None]]:
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 5 and fields[2] == COMPONENT:
            uri, release, _, origin, codename = fields
            yield uri.rstrip("/"), release, _value(origin), _value(codename)


def _value(field: str) -> str | None:
    """None for a field that apt does not know: apt leaves the field's name."""
    return None if not field or field.startswith("$(") else field


def _security_sibling(uri: str) -> str:
    """…/debian-security for …/debian: mirrors have security updates in a folder of their own."""
    return re.sub(r"/debian(?=/|$)(?!.*/debian(/|$))", "/debian-security", uri)
