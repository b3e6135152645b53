"""The versions of Kubernetes that one recipe can have: a line for each minor version (kubernetes/versions.yaml).

A name is a version of a line (`1.36`: the release that the line pins) or any release of it (`1.36.7`). A new minor
version is a new line. Not here: recipes (recipe.py), and what upstream has (package_index.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dayfly.errors import InvalidRequest, NotFound

_VERSION: Final = re.compile(r"(?P<minor>[0-9]{1,3}\.[0-9]{1,3})(?:\.(?P<patch>0|[1-9][0-9]{0,3}))?")
_TAG: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
_IMAGE: Final = r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MinorVersion(_Data):
    """One line. The comments in the file explain the fields."""

    patch: int = Field(ge=0)
    etcd: str = Field(pattern=_TAG)
    coredns: str = Field(pattern=_TAG)
    pause: str = Field(pattern=_TAG)
    cri_tools: str = ""
    kubeadm: Literal["v1beta2", "v1beta4"] = "v1beta4"
    registry: str = Field(default="registry.k8s.io", pattern=_IMAGE)
    upstream: bool = True
    kernel_arguments: tuple[str, ...] = ()


class Versions(_Data):
    """The whole file. `smoke`: the image of the smoke test's pod, which has /bin/sh."""

    smoke: str = Field(pattern=_IMAGE)
    versions: dict[str, MinorVersion]


@dataclass(frozen=True)
class Release:
    """A release of Kubernetes: a minor version's line, and a patch release of it."""

    minor: str
    patch: int
    line: MinorVersion
    smoke: str

    @property
    def version(self) -> str:
        return f"{self.minor}.{self.patch}"

    def values(self) -> dict[str, str]:
        """What a recipe may have between two `@`."""
        line = self.line
        return {
            "version": self.version,
            "minor": self.minor,
            "etcd": line.etcd,
            "coredns": line.coredns,
            "pause": line.pause,
            "cri_tools": line.cri_tools,
            "kubeadm": line.kubeadm,
            "registry": line.registry,
            "smoke": self.smoke,
            "upstream": "true" if line.upstream else "false",
        }


def looks_like_version(text: str) -> bool:
    """Whether `text` can only be meant as a version: it begins with a digit, or with `v` and a digit."""
    return bool(re.match("v?[0-9]", text))


def load_versions(path: Path) -> Versions:
    """The versions in a file. Raises InvalidRequest."""
    try:
        return Versions.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise InvalidRequest(
            f"{path.parent.name}/{path.name} does not exist: a recipe has its versions there"
        ) from None
    except (ValidationError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidRequest(f"{path.parent.name}/{path.name} is not valid: {why}") from error


def find_release(family: str, text: str, versions: Versions) -> Release:
    """The release that `text` names. Raises NotFound with the known ones; `family` is the recipe's name."""
    found = _VERSION.fullmatch(text)
    line = versions.versions.get(found["minor"]) if found else None
    if found is None or line is None:
        known = ", ".join(listed(family, versions))
        raise NotFound(
            f"there is no version {text!r} of the recipe {family}; there are: {known}, "
            f"and each release of theirs, such as {_example(family, versions)}"
        )
    patch = line.patch if found["patch"] is None else int(found["patch"])
    return Release(found["minor"], patch, line, versions.smoke)


def listed(family: str, versions: Versions) -> tuple[str, ...]:
    """The recipes' names of the lines that upstream has, in the order of their versions."""
    minors = [minor for minor, line in versions.versions.items() if line.upstream]
    return tuple(f"{family}-{minor}" for minor in sorted(minors, key=version_key))


def version_key(version: str) -> tuple[int, ...]:
    """A key that sorts versions by their numbers."""
    return tuple(int(part) for part in version.split("."))


def _example(family: str, versions: Versions) -> str:
    minor = max((minor for minor, line in versions.versions.items() if line.upstream), key=version_key)
    return f"{family}-{minor}.{versions.versions[minor].patch}"
