"""The settings of bakes: every address that a bake asks can be replaced here. None of them is part of a key.

They are settings as all others (settings.py). Not here: what is done with them (domain/bake_addresses.py).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import BaseSettings, NoDecode

from dayfly.domain.bake_addresses import (
    UPSTREAM_CRIO,
    UPSTREAM_KUBERNETES,
    BakeAddresses,
    checked_address,
    read_downloads,
    read_registries,
)
from dayfly.setting_types import as_list, must
from dayfly.vocabulary import IMAGE_REFERENCE

_MIRROR: Final = re.compile(r"[a-z][a-z0-9+]*:/[^\s\[\]|]+")


def _registries(value: tuple[str, ...]) -> tuple[str, ...]:
    read_registries(value)
    return value


def _downloads(value: tuple[str, ...]) -> tuple[str, ...]:
    read_downloads(value)
    return value


Mirror = Annotated[
    str,
    must(_MIRROR.fullmatch, "a mirror is a URI as in an apt source: https://mirror.example/debian, file:/srv/debian"),
]
ImageReference = Annotated[
    str, must(IMAGE_REFERENCE.fullmatch, "must be the name of an image, such as debian:bookworm-slim")
]
Address = Annotated[str, AfterValidator(checked_address)]
Registries = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_list), AfterValidator(_registries)]
Downloads = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_list), AfterValidator(_downloads)]
Repositories = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(as_list)]


class BakeSettings(BaseSettings):
    """The part of the settings that bakes have for themselves."""

    bake_base: ImageReference = "debian:bookworm-slim"
    """The Debian image (12 or newer) for bakes in a container; pulled if missing."""

    debian_mirror: Mirror | None = None
    """The Debian mirror of bakes (suites, updates, backports, sources): a URI as in an apt source.
    Unset: the machine's apt sources if they have the suite, or the mirror of its other Debian suites, or mmdebstrap's
    default. Proxy, certificates and credentials come from apt's configuration."""
    debian_security_mirror: Mirror | None = None
    """The mirror of <suite>-security. Unset, with `debian_mirror` set: the folder debian-security beside a folder
    debian, or the mirror itself; if neither has the suite, bakes report this and continue without the suite."""
    dnf_repositories: Repositories = ()
    """Addresses of repositories for bakes of a distribution with dnf, in place of its own; dnf's variables may be in
    them. Empty: the distribution's own."""

    kubernetes_packages: Address = UPSTREAM_KUBERNETES
    """The address of Kubernetes' packages, for recipes with a version of Kubernetes: below it are v1.36/deb/ and
    v1.36/rpm/."""
    kubernetes_packages_key: Path | None = None
    """The file of the key that signs these packages. Unset: the key that the repository itself has, over HTTPS only."""
    crio_packages: Address = UPSTREAM_CRIO
    """As `kubernetes_packages`, for nodes with CRI-O."""
    crio_packages_key: Path | None = None
    """As `kubernetes_packages_key`, for nodes with CRI-O."""

    bake_registries: Registries = ()
    """Registries that bakes ask in place of others, as `registry.k8s.io=https://mirror.example/k8s`. Images keep their
    names, and where the mirror lacks an image the bake fails."""
    bake_registry_logins: Path | None = None
    """A file as `docker login` writes it, with the logins (user and password) of bakes. Unset: bakes pull
    anonymously."""
    bake_downloads: Downloads = ()
    """What replaces the beginning of addresses of files that have a digest (manifests of networks), as
    `https://download.example/=https://mirror.example/`. Digests stay as they are."""
    bake_certificate_authorities: Path | None = None
    """A PEM file with the certificate authorities of these addresses."""

    def address_variables(self) -> dict[str, str]:
        """Environment variables that pass the addresses to a bake in another process; paths are absolute."""
        found = {}
        for name, field in BakeSettings.model_fields.items():
            value = getattr(self, name)
            if name != "bake_base" and value != field.default:
                text = json.dumps(value) if isinstance(value, tuple) else str(value)
                found[f"DAYFLY_{name.upper()}"] = str(value.absolute()) if isinstance(value, Path) else text
        return found

    def address_files(self) -> tuple[Path, ...]:
        """The files that these settings name."""
        values = (getattr(self, name) for name in BakeSettings.model_fields)
        return tuple(value.absolute() for value in values if isinstance(value, Path))

    @property
    def bake_addresses(self) -> BakeAddresses:
        """The addresses of bakes."""
        return BakeAddresses(
            kubernetes_packages=self.kubernetes_packages,
            kubernetes_key=self.kubernetes_packages_key,
            crio_packages=self.crio_packages,
            crio_key=self.crio_packages_key,
            registries=read_registries(self.bake_registries),
            registry_logins=self.bake_registry_logins,
            downloads=read_downloads(self.bake_downloads),
            dnf_repositories=self.dnf_repositories,
            certificate_authorities=self.bake_certificate_authorities,
        )
