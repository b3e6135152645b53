"""What a pulled add-on consists of: files and container images that others made, each with its digest. Pure.

Not here: the objects made of them (addon_objects.py), the files' texts (addon_manifests.py).
"""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dayfly.errors import InvalidRequest

_DIGEST: Final = r"^sha256:[0-9a-f]{64}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PinnedImage(_Strict):
    """A container image. Objects name it `name`; pods get it by its digest, so that no pod runs what a tag names today.

    `repository`: where nodes pull it from, if that is not the repository of `name`.
    """

    name: str = Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]*$")
    digest: str = Field(pattern=_DIGEST)
    repository: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._:/-]*$")

    @property
    def source(self) -> str:
        """The repository with its registry: `docker.io/calico/node`."""
        return with_registry(self.repository or _without_tag(self.name))

    @property
    def reference(self) -> str:
        return f"{self.source}@{self.digest}"


class Replacement(_Strict):
    """A text of a manifest, which must occur, and its replacement: an argument, or a value that is left open."""

    old: str = Field(min_length=1)
    new: str


class PinnedManifest(_Strict):
    """A file of objects, as YAML.

    `only`: the objects that are used, as `KIND NAME`; empty: all. `namespace`: of objects that have none and need one.
    """

    url: str = Field(pattern=r"^https://[^\s?#]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    only: tuple[str, ...] = ()
    namespace: str | None = None
    replace: tuple[Replacement, ...] = ()

    def replaced(self, text: str) -> str:
        """Raises InvalidRequest where a text to replace does not occur."""
        for one in self.replace:
            if one.old not in text:
                raise InvalidRequest(f"{self.url} has no text {one.old!r}, which addon.yaml replaces")
            text = text.replace(one.old, one.new)
        return text


class KubernetesRange(_Strict):
    """The minor versions of Kubernetes that the add-on's version was made for, both included."""

    oldest: str = Field(pattern=r"^1\.\d{1,3}$")
    newest: str = Field(pattern=r"^1\.\d{1,3}$")

    @model_validator(mode="after")
    def _ordered(self) -> KubernetesRange:
        if _minor(self.oldest) > _minor(self.newest):
            raise ValueError(f"oldest ({self.oldest}) is newer than newest ({self.newest})")
        return self

    def has(self, version: str) -> bool:
        """Whether `version`, as v1.20.15, is one of them."""
        return _minor(self.oldest) <= _minor(version) <= _minor(self.newest)

    def __str__(self) -> str:
        return f"{self.oldest} to {self.newest}"


class PulledSource(_Strict):
    """What a pulled add-on consists of beside the files of its folder."""

    version: str = Field(pattern=r"^v?[0-9][0-9A-Za-z.+-]*$")
    kubernetes: KubernetesRange
    images: tuple[PinnedImage, ...] = Field(min_length=1)
    manifests: tuple[PinnedManifest, ...] = Field(min_length=1)


def with_registry(repository: str) -> str:
    """`calico/node` is `docker.io/calico/node`, as in a container engine."""
    first, slash, _ = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return repository
    return f"docker.io/{repository}" if slash else f"docker.io/library/{repository}"


def _without_tag(name: str) -> str:
    repository, colon, tag = name.rpartition(":")
    return repository if colon and "/" not in tag else name


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
