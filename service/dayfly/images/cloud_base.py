"""The base of the kind `cloud-image`: a distribution's disk image, as data in provisioning/base/NAME.yaml.

Not here: root file systems by mmdebstrap (recipe.py), and the work with an image (cloud/).
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from dayfly.domain.image import Firmware

KIND: Final = "cloud-image"
_SCHEMES: Final = ("http", "https", "file")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "file") or not parts.path.strip("/"):
        raise ValueError(f"must be a URL of a file: {', '.join(f'{scheme}://…' for scheme in _SCHEMES)}")
    return value


def _pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError("must have one group, the version")
    return value


def _template(*fields: str) -> AfterValidator:
    def checked(value: str) -> str:
        used = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        if unknown := used - set(fields):
            raise ValueError(f"has {{{min(unknown)}}}; possible are {', '.join(f'{{{name}}}' for name in fields)}")
        return value

    return AfterValidator(checked)


Checksum = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]
Url = Annotated[str, AfterValidator(_url)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SignedChecksums(_Data):
    """A file of checksums that upstream signs. `key`: a path below provisioning/, an OpenPGP key, armored or not."""

    url: Url
    signature: Url | None = None
    """The detached signature; None: the file of checksums has its signature within (`BEGIN PGP SIGNED MESSAGE`)."""
    key: str
    fingerprint: str = Field(pattern=r"^[0-9A-F]{40}$")
    """Of the primary key: the signature's key, or a subkey of this key."""


class Newer(_Data):
    """How to find newer images: names in the page `index` that match `pattern`, whose group is the version."""

    index: Url
    pattern: Annotated[str, AfterValidator(_pattern)]
    url: Annotated[str, _template("index", "name", "version")]
    """The image's address; `{name}` is the whole match."""
    checksums: Annotated[str, _template("index", "name", "version", "url")]
    """The address of upstream's checksum file."""

    def version_of(self, url: str) -> str:
        """The version in `url`, an address made by the template `url`. Raises ValueError for another address."""
        form = ""
        for literal, name, _, _ in Formatter().parse(self.url):
            form += re.escape(literal)
            if name == "index":
                form += re.escape(self.index)
            elif name == "name":
                form += self.pattern  # Its group is the version.
            elif name == "version":
                form += "([^/]+?)"
        found = re.fullmatch(form, url)
        if found is None or len(set(found.groups())) != 1:
            raise ValueError(f"{url} does not have the form of newer.url, {self.url}")
        return found[1]


class CloudBase(_Data):
    """A cloud image, with exactly one of `checksum` and `signed_checksums`."""

    kind: Literal["cloud-image"]
    description: str
    url: Url
    checksum: Checksum | None = None
    signed_checksums: SignedChecksums | None = None
    """For images that upstream replaces at the same address."""
    family: Literal["apt", "dnf", "zypper"]
    """The packages' family, which roles distinguish."""
    boot: Firmware
    """How nodes start: `direct`, with kernel and initrd taken out of the image, or by its boot loader."""
    user: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """The user whom the image's cloud-init makes by default; nodes do not have this user."""
    suite: str | None = None
    """Of Debian: the suite whose packages bakes install, from the mirrors that they use for root file systems. None:
    bakes install packages from the image's own sources."""
    kernel_arguments: tuple[str, ...] = ()
    """Of nodes that boot directly."""
    max_gib: int = Field(default=8, ge=1, le=64)
    """The largest download."""
    newer: Newer | None = None
    """None: the address always has the newest image."""

    @model_validator(mode="after")
    def _one_checksum(self) -> Self:
        if (self.checksum is None) == (self.signed_checksums is None):
            raise ValueError("exactly one of checksum and signed_checksums is needed")
        return self

    @model_validator(mode="after")
    def _version_is_known(self) -> Self:
        if self.newer is not None:
            self.newer.version_of(self.url)
        return self

    @property
    def file_name(self) -> str:
        """The image's name in its upstream's checksum file."""
        return urlsplit(self.url).path.rpartition("/")[2]
