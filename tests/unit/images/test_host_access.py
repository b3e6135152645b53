"""The host's access to packages, as passed to a bake's container."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images import host_access
from dayfly.images.host_access import choose_mirrors, look_at_host

TARGETS = """\
http://tools.example/apt|bookworm|contrib
http://mirror.example/debian|bookworm|main
http://mirror.example/debian|bookworm-updates|main
http://other.example/debian|trixie|main
http://mirror.example/security|bookworm-security|main
https://tools.example/node|nodistro|main
"""


def test_mirrors_are_those_of_the_hosts_own_release() -> None:
    assert choose_mirrors(TARGETS, "bookworm") == {
        "": "http://mirror.example/debian",
        "-updates": "http://mirror.example/debian",
        "-security": "http://mirror.example/security",
    }
    assert choose_mirrors(TARGETS, "forky") == {}
    unstable = "http://mirror.example/debian|unstable|main\nhttp://mirror.example/debian|experimental|main\n"
    assert choose_mirrors(unstable, "forky") == {"": "http://mirror.example/debian"}


def test_what_the_host_cannot_say_fails_with_the_reason(home: Path) -> None:
    with pytest.raises(BakeFailed, match="ls --no-such-option ended with exit code 2") as caught:
        host_access._output("ls", "--no-such-option")
    assert "no-such-option" in caught.value.evidence["output"]
    (home / ".pip").mkdir()
    (home / ".pip" / "pip.conf").write_text("index-url = x\n")
    with pytest.raises(BakeFailed, match=r"pip's configuration .*pip\.conf cannot be read"):
        look(home)


def test_a_host_that_is_not_a_debian_gives_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"})
    access = look_at_host({"HOME": "/nonexistent"})
    assert (access.apt_sources, access.apt_options) == ({}, ())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose pip is configured; the host's own configuration is out of sight."""
    monkeypatch.setattr(platform, "freedesktop_os_release", dict)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path


def look(home: Path, **environment: str) -> host_access.HostAccess:
    return look_at_host({"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "xdg"), **environment})


def test_pips_configuration_comes_along_and_the_environment_holds(home: Path) -> None:
    wheels, constraints = home / "wheels", home / "constraints.txt"
    wheels.mkdir()
    constraints.touch()
    config = home / ".config" / "pip"
    config.mkdir(parents=True)
    (config / "pip.conf").write_text(
        f"[global]\nindex-url = https://one.example/simple\nextra-index-url =\n  file://{wheels}\n  https://b.example\n"
        f"require-virtualenv = true\n[install]\nconstraint = {constraints}\n"
    )
    access = look(home, PIP_INDEX_URL="https://two.example/simple", PIP_NO_INDEX="", PIP_USER="1")
    assert access.pip_options["index-url"] == "https://two.example/simple"
    assert access.pip_options["extra-index-url"] == f"file://{wheels} https://b.example"
    # The container has its own settings for the installation of packages.
    assert not {"require-virtualenv", "user"} & access.pip_options.keys()
    assert set(access.folders) >= {wheels, constraints}


def test_proxies_and_authorities_come_along(home: Path) -> None:
    (home / "ca.pem").write_bytes(b"PEM")
    access = look(
        home, https_proxy="http://proxy:3128", NO_PROXY="localhost", http_proxy="", SSL_CERT_FILE=f"{home}/ca.pem"
    )
    assert access.proxies == {"https_proxy": "http://proxy:3128", "NO_PROXY": "localhost"}
    assert access.ca_bundle == b"PEM"


def test_secrets_are_not_shown() -> None:
    shown = repr(
        host_access.HostAccess(proxies={"http_proxy": "http://me:secret@proxy"}, pip_options={"proxy": "secret"})
    )
    assert "secret" not in shown
