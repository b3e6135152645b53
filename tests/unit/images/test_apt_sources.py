"""The mirrors for a suite: the same suite on every host, from the host's mirrors."""

from __future__ import annotations

import pytest

from dayfly.images.apt_sources import (
    Entry,
    Mirrors,
    Release,
    candidates,
    configured,
    parse_entries,
    releases,
    without_credentials,
)

DEBIAN, SECURITY = "http://mirror.invalid/debian", "http://mirror.invalid/debian-security"
OTHER = "https://tools.invalid/apt"


def entries(*lines: str) -> tuple[Entry, ...]:
    """apt's knowledge of `URI release [origin codename]`; None if apt has not fetched it."""
    words = [line.split() for line in lines]
    return tuple(Entry(word[0], word[1], *([w if w != "-" else None for w in word[2:]])) for word in words)


HOSTS = {
    "bookworm": entries(
        f"{DEBIAN} bookworm Debian bookworm",
        f"{DEBIAN} bookworm-updates Debian bookworm-updates",
        f"{SECURITY} bookworm-security Debian bookworm-security",
    ),
    "trixie": entries(f"{DEBIAN} trixie Debian trixie", f"{SECURITY} trixie-security Debian trixie-security"),
    "stable by its other name": entries(
        f"{DEBIAN} stable Debian trixie", f"{SECURITY} stable-security Debian trixie-security"
    ),
    "sid": entries(f"{DEBIAN} sid Debian sid"),
    "lists never fetched": entries(f"{OTHER} trixie", f"{DEBIAN} trixie", f"{SECURITY} trixie-security"),
    "several mirrors": entries(
        "http://near.invalid/debian trixie Debian trixie", "http://far.invalid/debian trixie Debian trixie"
    ),
    "snapshot": entries("http://mirror.invalid/archive/debian/20260101T000000Z sid Debian sid"),
    "merged repository": entries("https://mirror.invalid/everything trixie Debian trixie"),
    "a folder": entries("file:/srv/debian trixie Debian trixie"),
    "Ubuntu": (),
}


@pytest.mark.parametrize(
    ("host", "release", "expected"),
    [
        ("bookworm", "bookworm", [DEBIAN]),
        ("bookworm", "bookworm-updates", [DEBIAN]),
        ("bookworm", "bookworm-backports", [DEBIAN]),
        ("bookworm", "bookworm-security", [SECURITY, DEBIAN]),
        ("trixie", "bookworm", [DEBIAN]),
        ("trixie", "bookworm-backports", [DEBIAN]),
        ("trixie", "bookworm-security", [SECURITY, DEBIAN]),
        ("stable by its other name", "trixie", [DEBIAN]),
        ("stable by its other name", "trixie-security", [SECURITY, DEBIAN]),
        ("stable by its other name", "bookworm", [DEBIAN]),
        ("sid", "bookworm", [DEBIAN]),
        ("sid", "bookworm-security", [SECURITY, DEBIAN]),
        ("lists never fetched", "bookworm", [OTHER, DEBIAN]),
        ("lists never fetched", "bookworm-security", [SECURITY, OTHER, DEBIAN]),
        ("several mirrors", "bookworm", ["http://near.invalid/debian", "http://far.invalid/debian"]),
        (
            "several mirrors",
            "bookworm-security",
            [
                *("http://near.invalid/debian-security", "http://far.invalid/debian-security"),
                *("http://near.invalid/debian", "http://far.invalid/debian"),
            ],
        ),
        (
            "snapshot",
            "bookworm-security",
            [
                "http://mirror.invalid/archive/debian-security/20260101T000000Z",
                "http://mirror.invalid/archive/debian/20260101T000000Z",
            ],
        ),
        ("merged repository", "trixie-security", ["https://mirror.invalid/everything"]),
        ("a folder", "bookworm-security", ["file:/srv/debian-security", "file:/srv/debian"]),
        ("Ubuntu", "bookworm", []),
        ("Ubuntu", "bookworm-security", []),
    ],
)
def test_a_host_has_these_mirrors_for_a_suite(host: str, release: str, expected: list[str]) -> None:
    suite = release.partition("-")[0]
    assert list(candidates(release, suite, HOSTS[host])) == expected


def test_the_entry_that_names_the_suite_comes_before_those_that_may_have_it() -> None:
    known = entries(
        "http://sid.invalid/debian sid Debian sid",
        "http://backports.invalid/debian bookworm-backports Debian bookworm-backports",
        "http://old.invalid/debian bookworm Debian bookworm",
    )
    assert candidates("bookworm", "bookworm", known)[0] == "http://old.invalid/debian"
    assert candidates("bookworm-backports", "bookworm", known)[0] == "http://backports.invalid/debian"
    # An unlisted suite is looked up at the mirror of the known suite.
    assert candidates("bookworm-updates", "bookworm", known)[0] == "http://old.invalid/debian"


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_a_setting_takes_the_place_of_what_the_host_has(host: str) -> None:
    origin, known = configured("bookworm", HOSTS[host], Mirrors("https://ours.invalid/debian/"))
    assert origin == "DAYFLY_DEBIAN_MIRROR"
    assert candidates("bookworm", "bookworm", known) == ("https://ours.invalid/debian",)
    assert candidates("bookworm-backports", "bookworm", known) == ("https://ours.invalid/debian",)
    assert candidates("bookworm-security", "bookworm", known) == (
        "https://ours.invalid/debian-security",
        "https://ours.invalid/debian",
    )


def test_both_settings_are_two_mirrors() -> None:
    mirrors = Mirrors("https://ours.invalid/debian", "https://safe.invalid/updates")
    _, known = configured("bookworm", HOSTS["bookworm"], mirrors)
    assert candidates("bookworm-security", "bookworm", known)[0] == "https://safe.invalid/updates"
    assert candidates("bookworm", "bookworm", known) == ("https://ours.invalid/debian",)


def test_the_security_mirror_alone_leaves_the_rest_to_the_host() -> None:
    origin, known = configured("bookworm", HOSTS["trixie"], Mirrors(security="https://safe.invalid/updates"))
    assert origin == "this machine's apt sources"
    assert candidates("bookworm-security", "bookworm", known)[0] == "https://safe.invalid/updates"
    assert SECURITY not in [entry.uri for entry in known]
    assert candidates("bookworm", "bookworm", known) == (DEBIAN,)


def test_unstable_has_no_suites_of_updates() -> None:
    assert releases("sid", backports=False) == (Release("sid", required=True),)
    assert [release.name for release in releases("bookworm", backports=True)] == [
        *("bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"),
    ]
    assert [release.required for release in releases("bookworm", backports=True)] == [True, False, False, True]


FETCHED = f"""\
{DEBIAN}/|trixie|main|Debian|trixie
{DEBIAN}/|trixie|contrib|Debian|trixie
{OTHER}|trixie|main|Tools|trixie
https://packages.invalid/|nodistro|main|. nodistro|nodistro
"""
CONFIGURED = f"""\
{DEBIAN}/|trixie|main|$(ORIGIN)|$(CODENAME)
{DEBIAN}/|trixie|main|$(ORIGIN)|$(CODENAME)
{DEBIAN}/|trixie|contrib|$(ORIGIN)|$(CODENAME)
{OTHER}|trixie|main|$(ORIGIN)|$(CODENAME)
https://packages.invalid/|nodistro|main|$(ORIGIN)|$(CODENAME)
https://new.invalid/debian/|sid|main|$(ORIGIN)|$(CODENAME)
cdrom://Debian_13/|trixie|main|$(ORIGIN)|$(CODENAME)
https://docker.invalid/debian/|trixie|stable|$(ORIGIN)|$(CODENAME)
http://flat.invalid/x/|./|$(COMPONENT)|$(ORIGIN)|$(CODENAME)
"""


def test_other_peoples_archives_and_cds_are_no_mirrors_of_debian() -> None:
    assert parse_entries(CONFIGURED, FETCHED) == (
        Entry(DEBIAN, "trixie", "Debian", "trixie"),
        Entry("https://new.invalid/debian", "sid"),
    )


def test_a_host_with_nothing_but_other_peoples_archives_has_no_mirror() -> None:
    assert parse_entries(f"{OTHER}|trixie|main|$(ORIGIN)|$(CODENAME)\n", f"{OTHER}|trixie|main|Tools|trixie\n") == ()
    assert parse_entries("", "") == ()


def test_no_password_is_shown() -> None:
    assert without_credentials("E: http://me:secret@mirror.invalid/debian x@y") == "E: http://mirror.invalid/debian x@y"
