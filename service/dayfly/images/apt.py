"""Asks this machine's apt where a suite can be had, and the mirrors whether they have it, signed by Debian's keys.

Proxies, certificates and credentials are the machine's own: everything is fetched by apt. Not here: the order in which
mirrors are tried (apt_sources.py), and what is made of the packages (rootfs.py).
"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from dayfly.errors import BakeFailed
from dayfly.images.apt_sources import (
    COMPONENT,
    TARGETS,
    Entry,
    Mirrors,
    Origin,
    candidates,
    configured,
    parse_entries,
    releases,
    without_credentials,
)
from dayfly.images.host import KEYRING_PACKAGE, find_keyring
from dayfly.images.process import run

_INDEXTARGETS: Final = ("indextargets", "--format", TARGETS, "Created-By: Packages")
_FORWARDED: Final = ("Acquire::Check-", "Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv")
_CREDENTIALS: Final = ("Dir::Etc::netrc", "Dir::Etc::netrcparts")
_FOLDERS: Final = (
    *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"),
    *("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"),
)
_RELEASE_FILES_ONLY: Final = (
    'Acquire::IndexTargets::deb::Packages::DefaultEnabled "false"',
    'Acquire::IndexTargets::deb::Translations::DefaultEnabled "false"',
    'Dir::Cache::pkgcache ""',
    'Dir::Cache::srcpkgcache ""',
)
_NO_RELEASE: Final = "does not have a Release file"
_BAD_SIGNATURE: Final = ("GPG error", "signature verification", "is not signed", "couldn't be verified", "NO_PUBKEY")


@dataclass(frozen=True)
class Source:
    """A suite at a mirror that has it."""

    uri: str
    release: str


@dataclass(frozen=True)
class Sources:
    """Where a suite is taken from. `missing` are suites of updates that no mirror has.

    `options` is apt's configuration for reaching the mirrors; `keyring` is what signatures are verified with.
    """

    found: tuple[Source, ...]
    missing: tuple[str, ...]
    origin: Origin
    keyring: Path
    options: tuple[str, ...] = ()

    def lines(self, *, deb_src: bool = False) -> str:
        """Lines for sources.list."""
        kinds = ("deb", "deb-src") if deb_src else ("deb",)
        return "".join(_line(kind, source, self.keyring) for kind in kinds for source in self.found)


@dataclass(frozen=True)
class Answer:
    """What apt said of a suite at a mirror: it serves it, does not have it, has it unsigned, or cannot be reached."""

    source: Source
    verdict: Literal["serves", "absent", "untrusted", "failed"]
    said: str = ""


async def find_sources(suite: str, *, backports: bool = False, mirrors: Mirrors | None = None) -> Sources:
    """Where `suite`, its updates and (if asked for) its backports can be had; every signature has been verified.

    Raises BakeFailed where the suite cannot be had, with what each mirror answered, and where the keyring is missing.
    """
    mirrors = mirrors or Mirrors()
    search = _Search(suite, backports, required_keyring(), await apt_options())
    origin, entries = configured(suite, await machine_entries(), mirrors)
    sources = await search.among(entries, origin)
    if sources is None and mirrors.debian is None:
        sources = await search.among(await default_entries(suite), "mmdebstrap's default")
    if sources is None:
        raise search.failure()
    return sources


def required_keyring() -> Path:
    """Debian's keyring. Raises BakeFailed: nothing is fetched that cannot be verified."""
    keyring = find_keyring()
    if keyring is None:
        raise BakeFailed(f"Debian's keyring is missing: apt-get install {KEYRING_PACKAGE}")
    return keyring


async def machine_entries() -> tuple[Entry, ...]:
    """What this machine's apt sources have that may be Debian's; whether its lists have been fetched or not."""
    everything = await run(["apt-get", *_INDEXTARGETS, "--no-release-info"])
    return parse_entries(everything, await run(["apt-get", *_INDEXTARGETS]))


async def default_entries(suite: str) -> tuple[Entry, ...]:
    """The sources that mmdebstrap has for `suite` where it is given none. Asks nothing of any mirror."""
    with tempfile.TemporaryDirectory(prefix="dayfly-apt-") as folder:
        written = Path(folder) / "targets"
        ask = f'apt-get -o Dir="$1" {shlex.join(_INDEXTARGETS)} --no-release-info > {shlex.quote(str(written))}'
        try:
            await run(
                [
                    *("mmdebstrap", "--mode=chrootless", "--variant=custom", "--format=null"),
                    # The hook's failure ends it: only what it wrote so far is wanted. Nothing is installed, so that
                    # mmdebstrap 1.5 need not refuse to run as root without a chroot.
                    *("--skip=check/signed-by,check/chrootless", f"--setup-hook={ask}; exit 1", suite, "/dev/null"),
                ],
                name="mmdebstrap",
            )
        except BakeFailed:
            if not written.exists():
                raise
        return parse_entries(written.read_text())


async def apt_options() -> tuple[str, ...]:
    """How this machine reaches its mirrors: proxies, certificates, credentials, whether it trusts its clock."""
    dump = (await run(["apt-config", "dump"])).splitlines()
    options = [line.removesuffix(";") for line in dump if line.startswith(_FORWARDED) and not line.endswith('"";')]
    paths = await run(["apt-config", "shell", "0", f"{_CREDENTIALS[0]}/f", "1", f"{_CREDENTIALS[1]}/d"])
    return (*options, *_credentials(paths))


async def ask(source: Source, keyring: Path, options: Sequence[str]) -> Answer:
    """Fetch the Release file of `source` with apt, which verifies its signature and its age, and nothing else."""
    with _private_apt(source, keyring, options) as configuration:
        try:
            await run(
                ["apt-get", "update", "--error-on=any", "--quiet"], environment={"APT_CONFIG": str(configuration)}
            )
        except BakeFailed as error:
            output = without_credentials(str(error.evidence.get("output", error.message)))
        else:
            return Answer(source, "serves")
    if any(sign in output for sign in _BAD_SIGNATURE):
        return Answer(source, "untrusted", f"no key of {keyring} has signed it")
    if _NO_RELEASE in output:
        return Answer(source, "absent", "it is not there")
    complaints = [line.partition(": ")[2] for line in output.splitlines() if line.startswith(("E: ", "Error: "))]
    return Answer(source, "failed", complaints[0] if complaints else output)


def _credentials(paths: str) -> Iterator[str]:
    """Where apt's credentials lie, with the whole path: the apt that fetches takes another folder for its root."""
    for line in paths.splitlines():
        number, _, quoted = line.partition("=")
        (path,) = shlex.split(quoted)
        if Path(path).exists():
            yield f'{_CREDENTIALS[int(number)]} "{path}"'


@dataclass
class _Search:
    """One search for a suite: remembers what every mirror answered."""

    suite: str
    backports: bool
    keyring: Path
    options: tuple[str, ...]
    answers: list[Answer] = field(default_factory=list)

    async def among(self, entries: Sequence[Entry], origin: Origin) -> Sources | None:
        """The sources among `entries`; None where they do not have all that is required.

        Raises BakeFailed where that cannot be told, because a mirror does not answer: a root file system without
        security updates must not come of a line that was down for a moment.
        """
        wanted = releases(self.suite, backports=self.backports)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._first(release.name, candidates(release.name, self.suite, entries)))
                for release in wanted
            ]
        results = [(release, task.result()) for release, task in zip(wanted, tasks, strict=True)]
        if any(answer.verdict == "failed" for answer in self.answers):
            raise self.failure()
        if any(release.required and source is None for release, source in results):
            return None
        found = tuple(source for _, source in results if source is not None)
        missing = tuple(release.name for release, source in results if source is None)
        return Sources(found, missing, origin, self.keyring, self.options)

    async def _first(self, release: str, uris: Sequence[str]) -> Source | None:
        """The first mirror that serves `release`; the answers of the others are kept where there is none."""
        answers = []
        for uri in uris:
            answer = await ask(Source(uri, release), self.keyring, self.options)
            answers.append(answer)
            if answer.verdict == "serves":
                return answer.source
        self.answers += answers
        return None

    def failure(self) -> BakeFailed:
        """What is wrong and what to do about it; what every mirror said is the evidence."""
        advice = "set DAYFLY_DEBIAN_MIRROR to a mirror of Debian that has it"
        verdicts = {answer.verdict for answer in self.answers}
        if "failed" in verdicts:
            advice = (
                "see that apt reaches its mirrors (a proxy is Acquire::http::Proxy in /etc/apt/apt.conf.d), "
                "or set DAYFLY_DEBIAN_MIRROR to one that it reaches"
            )
        elif "untrusted" in verdicts:
            advice += f", or renew Debian's keys (apt-get install {KEYRING_PACKAGE})"
        # What did not answer is the reason even where others lack the suite.
        worst = sorted(self.answers, key=lambda one: (one.verdict != "failed", one.source.release != self.suite))
        tried = [f"{answer.source.uri} {answer.source.release}: {answer.said}" for answer in worst]
        tried = [without_credentials(line) for line in tried] or ["no mirror of Debian is known"]
        return BakeFailed(
            f"Debian's suite {self.suite} cannot be had: {tried[0]}; {advice}", evidence={"mirrors": "\n".join(tried)}
        )


def _line(kind: str, source: Source, keyring: Path) -> str:
    return f"{kind} [signed-by={keyring}] {source.uri} {source.release} {COMPONENT}\n"


@contextmanager
def _private_apt(source: Source, keyring: Path, options: Sequence[str]) -> Iterator[Path]:
    """The configuration of an apt that knows `source` alone and writes in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dayfly-apt-") as name:
        root = Path(name)
        root.chmod(0o755)  # apt fetches as a user of its own.
        for folder in _FOLDERS:
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "etc/apt/sources.list").write_text(_line("deb", source, keyring))
        own = (f'Dir "{root}/"', f'Dir::State::status "{root}/var/lib/dpkg/status"', *_RELEASE_FILES_ONLY)
        (root / "apt.conf").write_text("".join(f"{option};\n" for option in (*own, *options)))
        yield root / "apt.conf"
