"""Mirrors for a suite, and the handling of their answers. Not here: real apt (tests/integration)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import apt
from dayfly.images.apt import Source, find_sources
from dayfly.images.apt_sources import Mirrors
from tests.support.mirrors import ABSENT, UNREACHABLE, UNTRUSTED, StandInApt

DEBIAN, SECURITY = "http://mirror.invalid/debian", "http://mirror.invalid/debian-security"
TRIXIE = ((DEBIAN, "trixie", "Debian"), (SECURITY, "trixie-security", "Debian"))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> StandInApt:
    host = StandInApt()
    monkeypatch.setattr(apt, "run", host.run)
    monkeypatch.setattr(apt, "find_keyring", lambda: Path("/keys.gpg"))
    return host


def found(*pairs: tuple[str, str]) -> tuple[Source, ...]:
    return tuple(Source(uri, release) for uri, release in pairs)


async def test_a_suite_that_the_machine_has_comes_from_there(host: StandInApt) -> None:
    host.has((DEBIAN, "bookworm", "Debian"), (SECURITY, "bookworm-security", "Debian"))
    host.serves(DEBIAN, "bookworm", "bookworm-updates", "bookworm-backports")
    host.serves(SECURITY, "bookworm-security")
    sources = await find_sources("bookworm", backports=True)
    assert sources.found == found(
        (DEBIAN, "bookworm"),
        (DEBIAN, "bookworm-updates"),
        (SECURITY, "bookworm-security"),
        (DEBIAN, "bookworm-backports"),
    )
    assert (sources.missing, sources.origin) == ((), "this machine's apt sources")
    assert sources.lines().splitlines()[0] == f"deb [signed-by=/keys.gpg] {DEBIAN} bookworm main"
    assert f"deb-src [signed-by=/keys.gpg] {DEBIAN} bookworm main" in sources.lines(deb_src=True)
    assert "deb-src" not in sources.lines()


async def test_a_suite_that_the_machine_lacks_comes_from_the_mirror_of_its_own(host: StandInApt) -> None:
    host.has(*TRIXIE)
    host.serves(DEBIAN, "trixie", "bookworm", "bookworm-updates")
    host.serves(SECURITY, "trixie-security", "bookworm-security")
    sources = await find_sources("bookworm")
    assert sources.found == found((DEBIAN, "bookworm"), (DEBIAN, "bookworm-updates"), (SECURITY, "bookworm-security"))


async def test_security_updates_that_no_mirror_has_are_missing_and_said_to_be(host: StandInApt) -> None:
    host.has((DEBIAN, "sid", "Debian"))
    host.serves(DEBIAN, "sid", "bookworm", "bookworm-updates")
    sources = await find_sources("bookworm")
    assert sources.missing == ("bookworm-security",)
    assert (SECURITY, "bookworm-security") in host.asked


async def test_a_line_that_is_down_is_no_reason_to_do_without_security_updates(host: StandInApt) -> None:
    host.has(*TRIXIE)
    host.serves(DEBIAN, "bookworm", "bookworm-updates")
    host.answers[SECURITY, "bookworm-security"] = UNREACHABLE
    with pytest.raises(BakeFailed, match=r"bookworm-security: .*Could not resolve.*Acquire::http::Proxy"):
        await find_sources("bookworm")


async def test_a_machine_without_debian_takes_what_mmdebstrap_does(host: StandInApt) -> None:
    host.has(("http://ubuntu.invalid/ubuntu", "noble", "Ubuntu"))
    host.default = ((DEBIAN, "bookworm"), (SECURITY, "bookworm-security"))
    host.serves(DEBIAN, "bookworm", "bookworm-updates", "bookworm-backports")
    host.serves(SECURITY, "bookworm-security")
    sources = await find_sources("bookworm", backports=True)
    assert sources.origin == "mmdebstrap's default"
    assert [source.release for source in sources.found][-1] == "bookworm-backports"
    assert not any("ubuntu" in uri for uri, _ in host.asked)


async def test_a_mirror_that_does_not_answer_is_not_passed_over_for_mmdebstraps(host: StandInApt) -> None:
    host.has(*TRIXIE)
    host.answers[DEBIAN, "bookworm"] = UNREACHABLE
    with pytest.raises(BakeFailed, match="Could not resolve"):
        await find_sources("bookworm")
    assert "mmdebstrap" not in host.started


async def test_the_setting_is_the_only_mirror_that_is_asked(host: StandInApt) -> None:
    host.has(*TRIXIE)
    host.serves(DEBIAN, "trixie")
    ours = "https://ours.invalid/debian"
    words = r"ours\.invalid/debian trixie: the mirror does not have it; set DAYFLY_DEBIAN_MIRROR"
    with pytest.raises(BakeFailed, match=words):
        await find_sources("trixie", mirrors=Mirrors(ours))
    assert {uri for uri, _ in host.asked} == {ours, f"{ours}-security"}
    assert "mmdebstrap" not in host.started
    host.serves(ours, "trixie")
    assert (await find_sources("trixie", mirrors=Mirrors(ours))).origin == "DAYFLY_DEBIAN_MIRROR"


async def test_what_debians_keys_have_not_signed_is_not_taken(host: StandInApt) -> None:
    """A foreign archive that names its suite as Debian does, before its lists are fetched."""
    host.has(("https://tools.invalid/apt", "bookworm", None), (DEBIAN, "trixie", None))
    host.answers["https://tools.invalid/apt", "bookworm"] = UNTRUSTED
    host.serves(DEBIAN, "bookworm")
    assert found((DEBIAN, "bookworm")) == (await find_sources("bookworm")).found
    host.answers[DEBIAN, "bookworm"] = UNTRUSTED
    with pytest.raises(BakeFailed, match=r"no key of /keys\.gpg has signed it.*renew Debian's keys"):
        await find_sources("bookworm")


async def test_without_debians_keyring_nothing_is_asked(host: StandInApt, monkeypatch: pytest.MonkeyPatch) -> None:
    host.has(*TRIXIE)
    monkeypatch.setattr(apt, "find_keyring", lambda: None)
    with pytest.raises(BakeFailed, match="apt-get install debian-archive-keyring"):
        await find_sources("trixie")
    assert host.asked == []


async def test_apt_reaches_mirrors_as_the_machines_own_does(host: StandInApt, tmp_path: Path) -> None:
    host.has(*TRIXIE)
    host.serves(DEBIAN, "trixie")
    host.configuration = ('Acquire::http::Proxy "http://proxy.invalid";', 'Acquire::http "";', 'Dir "/";')
    host.credentials = tmp_path
    sources = await find_sources("trixie")
    assert sources.options == ('Acquire::http::Proxy "http://proxy.invalid"', f'Dir::Etc::netrc "{tmp_path}"')
    assert all('Acquire::http::Proxy "http://proxy.invalid";' in text for text in host.configurations)
    # apt's defaults for clock and expiry of release files apply, unless this machine sets others.
    assert not any("Check-" in text for text in host.configurations)


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        (ABSENT, "absent"),
        (UNREACHABLE, "failed"),
        (UNTRUSTED, "untrusted"),
        (
            "E: OpenPGP signature verification failed: http://mirror.invalid/debian x InRelease: Missing key",
            "untrusted",
        ),
        ("E: The repository 'http://mirror.invalid/debian x Release' is not signed.", "untrusted"),
        ("E: Release file for http://mirror.invalid/debian/dists/x/InRelease is expired", "failed"),
    ],
)
async def test_what_apt_says_is_one_of_three_faults(host: StandInApt, output: str, verdict: str) -> None:
    host.answers[DEBIAN, "x"] = output
    answer = await apt.ask(Source(DEBIAN, "x"), Path("/keys.gpg"), ())
    assert answer.verdict == verdict
    assert answer.said


async def test_mmdebstrap_that_cannot_say_is_an_error(host: StandInApt) -> None:
    async def breaks(argv: Sequence[str | Path], **_: object) -> str:
        raise BakeFailed("mmdebstrap cannot be started")

    host.mmdebstrap = breaks
    with pytest.raises(BakeFailed, match="cannot be started"):
        await find_sources("bookworm")
