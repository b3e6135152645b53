"""This host's access to archives of packages: mirror, proxies, pip configuration and certificate authorities.

A bake in a container uses them. Not here: the installation (baker.py).
"""

from __future__ import annotations

import configparser
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dayfly.errors import BakeFailed
from dayfly.images.apt_sources import forwarded_options

_CA_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS
)
_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_PIP_LISTS: Final = frozenset({"constraint", "extra-index-url", "find-links", "trusted-host"})
"""Options with several values."""
_PIP_OPTIONS: Final = _PIP_LISTS | {
    "client-cert",
    "default-timeout",
    "index-url",
    "no-index",
    "proxy",
    "retries",
    "timeout",
}
"""Options for the sources of packages. Without `cert`: the container has the host's certificate authorities."""
_APT_FORMAT: Final = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
_SUFFIXES: Final = ("", "-updates", "-security")
_STATES: Final = ("stable", "testing", "unstable", "sid")
_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class HostAccess:
    """May contain credentials: the container gets it in files that no image keeps, or in its environment."""

    apt_sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A suite's suffix (``, `-updates`, `-security`) → the mirror's URI. Empty: this host is not a Debian."""
    apt_options: tuple[str, ...] = field(default=(), repr=False)
    pip_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Options of pip → values, as in a section `global` of its configuration."""
    folders: tuple[Path, ...] = ()
    """Files and folders of this host that `pip_options` name."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: bytes | None = field(default=None, repr=False)


def look_at_host(environment: Mapping[str, str] | None = None) -> HostAccess:
    """The access of the current user. `environment` is this process's by default. Raises BakeFailed."""
    environment = os.environ if environment is None else environment
    pip_options = dict(_pip_options(environment))
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    apt_sources: dict[str, str] = {}
    apt_options: tuple[str, ...] = ()
    if release.get("ID") == "debian" and shutil.which("apt-get") is not None:
        targets = _output("apt-get", "indextargets", "--format", _APT_FORMAT, "Created-By: Packages")
        apt_sources = choose_mirrors(targets, release.get("VERSION_CODENAME", ""))
        apt_options = forwarded_options(_output("apt-config", "dump"))
    return HostAccess(
        apt_sources=apt_sources,
        apt_options=apt_options,
        pip_options=pip_options,
        folders=tuple(sorted(set(_local_paths(pip_options)))),
        proxies={name: value for name, value in environment.items() if value and name.lower() in _PROXIES},
        ca_bundle=_ca_bundle(environment),
    )


def choose_mirrors(targets: str, codename: str) -> dict[str, str]:
    """The mirror of the host's own release for each suffix, from the output of `apt-get indextargets`.

    `codename` is that release's; an archive may also name the release by its state (`stable`). Other archives are left
    out: a bake does not need their packages.
    """
    found: dict[str, str] = {}
    names = (codename, *_STATES)
    entries = [tuple(line.split("|")) for line in targets.splitlines() if line.count("|") == 2]
    for suffix in _SUFFIXES:
        wanted = {f"{name}{suffix}" for name in names}
        for uri, release, component in entries:
            if component == "main" and release in wanted:
                found.setdefault(suffix, uri)
    return found


def _output(*argv: str) -> str:
    """The output of a host's command. Raises BakeFailed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BakeFailed(f"{' '.join(argv[:2])} did not end within {_LIMIT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        evidence = {"output": done.stderr}
        raise BakeFailed(f"{' '.join(argv[:2])} ended with exit code {done.returncode}", evidence=evidence)
    return done.stdout


def _ca_bundle(environment: Mapping[str, str]) -> bytes | None:
    for path in filter(None, (environment.get("SSL_CERT_FILE"), *_CA_BUNDLES)):
        if Path(path).is_file():
            return Path(path).read_bytes()
    return None


def _pip_options(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """In pip's own order: system, user, this virtual environment, PIP_CONFIG_FILE, PIP_*. The last value counts."""
    for path in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)  # A missing file is no error.
        except (configparser.Error, UnicodeDecodeError) as error:
            raise BakeFailed(f"pip's configuration {path} cannot be read: {error}") from error
        for section in ("global", "install"):
            if parser.has_section(section):
                for name, value in parser.items(section):
                    key = name.replace("_", "-")
                    if key in _PIP_OPTIONS:
                        yield key, " ".join(value.split())
    for name, value in environment.items():
        key = name.removeprefix("PIP_").lower().replace("_", "-")
        if name.startswith("PIP_") and key in _PIP_OPTIONS:
            yield key, value


def _pip_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return ()
    home = Path(environment.get("HOME") or Path.home())
    system = [Path(folder) / "pip" for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
    files = [*(folder / "pip.conf" for folder in system), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", user / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return (*files, *([Path(chosen)] if chosen else []))


def _local_paths(options: Mapping[str, str]) -> Iterator[Path]:
    """The files of this host that the options name, as paths or as file:// URLs."""
    for name, value in options.items():
        for word in value.split() if name in _PIP_LISTS else [value]:
            path = Path(url2pathname(urlsplit(word).path)) if word.startswith("file:") else Path(word)
            if path.is_absolute() and path.exists():
                yield path
