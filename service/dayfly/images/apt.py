"""Finds mirrors of a Debian suite in this machine's apt sources, and verifies that Debian's keys sign their Release.

Everything is fetched by apt, with the machine's own proxies, certificates and credentials. Not here: the order of
mirrors (apt_sources.py), and the root file systems (rootfs.py).
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
    forwarded_options,
    parse_entries,
    releases,
    without_credentials,
)
from dayfly.images.host import KEYRING_PACKAGE, find_keyring
from dayfly.images.process import run

_INDEXTARGETS: Final = ("indextargets", "--format", TARGETS, "Created-By: Packages")
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
    uri: str
    release: str


@dataclass(frozen=True)
class Sources:
    """The mirrors of a suite. `missing`: suites of updates that no mirror has. `options`: apt's, for the mirrors."""

    found: tuple[Source, ...]
    missing: tuple[str, ...]
    origin: Origin
    keyring: Path
    options: tuple[str, ...] = ()

    def lines(self, *, deb_src: bool = False) -> str:
        kinds = ("deb", "deb-src") if deb_src else ("deb",)
        return "".join(_line(kind, source, self.keyring) for kind in kinds for source in self.found)


@dataclass(frozen=True)
class Answer:
    """A mirror's answer for a suite: it serves the suite, lacks it, has it without a valid signature, or fails."""

    source: Source
    verdict: Literal["serves", "absent", "untrusted", "failed"]
    said: str = ""


async def find_sources(suite: str, *, backports: bool = False, mirrors: Mirrors | None = None) -> Sources:
    """The mirrors of `suite`, its updates and (with `backports`) its backports; every signature is verified.

    Raises BakeFailed when no mirror serves the suite, with each mirror's answer, and when the keyring is missing.
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
    """Debian's keyring, which verifies every download. Raises BakeFailed when it is missing."""
    keyring = find_keyring()
    if keyring is None:
        raise BakeFailed(f"Debian's keyring is missing: apt-get install {KEYRING_PACKAGE}")
    return keyring


async def machine_entries() -> tuple[Entry, ...]:
    """The entries of this machine's apt sources that may be Debian's, whether or not apt has fetched their lists."""
    everything = await run(["apt-get", *_INDEXTARGETS, "--no-release-info"])
    return parse_entries(everything, await run(["apt-get", *_INDEXTARGETS]))


async def default_entries(suite: str) -> tuple[Entry, ...]:
    """The sources that mmdebstrap uses for `suite` by default. Contacts no mirror."""
    with tempfile.TemporaryDirectory(prefix="dayfly-apt-") as folder:
        written = Path(folder) / "targets"
        ask = f'apt-get -o Dir="$1" {shlex.join(_INDEXTARGETS)} --no-release-info > {shlex.quote(str(written))}'
        try:
            await run(
                [
                    *("mmdebstrap", "--mode=chrootless", "--variant=custom", "--format=null"),
                    # The hook fails on purpose, after it has written the sources: nothing is installed. So the check
                    # of mmdebstrap 1.5, which refuses root without a chroot, may be skipped.
                    *("--skip=check/signed-by,check/chrootless", f"--setup-hook={ask}; exit 1", suite, "/dev/null"),
                ],
                name="mmdebstrap",
            )
        except BakeFailed:
            if not written.exists():
                raise
        return parse_entries(written.read_text())


async def apt_options() -> tuple[str, ...]:
    """apt's options for reaching mirrors: proxies, certificates, credentials, and the check of the clock."""
    options = [line.removesuffix(";") for line in forwarded_options(await run(["apt-config", "dump"]))]
    paths = await run(["apt-config", "shell", "0", f"{_CREDENTIALS[0]}/f", "1", f"{_CREDENTIALS[1]}/d"])
    return (*options, *_credentials(paths))


async def ask(source: Source, keyring: Path, options: Sequence[str]) -> Answer:
    """Fetch only the Release file of `source` with apt, which verifies its signature and its age."""
    with private_apt(_line("deb", source, keyring), (*_RELEASE_FILES_ONLY, *options)) as configuration:
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
        return Answer(source, "absent", "the mirror does not have it")
    errors = [line.partition(": ")[2] for line in output.splitlines() if line.startswith(("E: ", "Error: "))]
    return Answer(source, "failed", errors[0] if errors else output)


def _credentials(paths: str) -> Iterator[str]:
    """Options with the absolute paths of apt's credentials: the apt that fetches has another root folder."""
    for line in paths.splitlines():
        number, _, quoted = line.partition("=")
        (path,) = shlex.split(quoted)
        if Path(path).exists():
            yield f'{_CREDENTIALS[int(number)]} "{path}"'


@dataclass
class _Search:
    """One search for a suite, with the answers of the mirrors that do not serve it."""

    suite: str
    backports: bool
    keyring: Path
    options: tuple[str, ...]
    answers: list[Answer] = field(default_factory=list)

    async def among(self, entries: Sequence[Entry], origin: Origin) -> Sources | None:
        """The sources among `entries`; None when a required suite is missing.

        Raises BakeFailed when a mirror does not answer: a short network failure must not lead to a root file system
        without security updates.
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
        """The first mirror that serves `release`. Keeps the answers when no mirror does."""
        answers = []
        for uri in uris:
            answer = await ask(Source(uri, release), self.keyring, self.options)
            answers.append(answer)
            if answer.verdict == "serves":
                return answer.source
        self.answers += answers
        return None

    def failure(self) -> BakeFailed:
        """The error, with advice and with every mirror's answer as evidence."""
        advice = "set DAYFLY_DEBIAN_MIRROR to a mirror of Debian that has it"
        verdicts = {answer.verdict for answer in self.answers}
        if "failed" in verdicts:
            advice = (
                "make apt reach its mirrors (a proxy is Acquire::http::Proxy in /etc/apt/apt.conf.d), "
                "or set DAYFLY_DEBIAN_MIRROR to a mirror that apt reaches"
            )
        elif "untrusted" in verdicts:
            advice += f", or renew Debian's keys (apt-get install {KEYRING_PACKAGE})"
        # A mirror that did not answer is the reason, even where other mirrors lack the suite.
        worst = sorted(self.answers, key=lambda one: (one.verdict != "failed", one.source.release != self.suite))
        tried = [f"{answer.source.uri} {answer.source.release}: {answer.said}" for answer in worst]
        tried = [without_credentials(line) for line in tried] or ["no mirror of Debian is known"]
        return BakeFailed(
            f"no usable mirror of Debian's suite {self.suite}: {tried[0]}; {advice}",
            evidence={"mirrors": "\n".join(tried)},
        )


def _line(kind: str, source: Source, keyring: Path) -> str:
    return f"{kind} [signed-by={keyring}] {source.uri} {source.release} {COMPONENT}\n"


@contextmanager
def private_apt(lines: str, options: Sequence[str], *, status: str = "") -> Iterator[Path]:
    """The configuration of an apt that has only the sources `lines`, and writes only into a temporary folder.

    `status`: what is installed, as dpkg's file has it.
    """
    with tempfile.TemporaryDirectory(prefix="dayfly-apt-") as name:
        root = Path(name)
        root.chmod(0o755)  # apt fetches as a user of its own.
        for folder in _FOLDERS:
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").write_text(status)
        (root / "etc/apt/sources.list").write_text(lines)
        own = (f'Dir "{root}/"', f'Dir::State::status "{root}/var/lib/dpkg/status"')
        (root / "apt.conf").write_text("".join(f"{option};\n" for option in (*own, *options)))
        yield root / "apt.conf"
