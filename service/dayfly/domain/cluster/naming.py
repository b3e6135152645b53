"""Names and labels of a cluster's objects on the engine. Not here: what these objects are (topology.py).

Every object has a deterministic name and four labels. Objects are found and removed by exact label match only, never
by a prefix of their name.
"""

from __future__ import annotations

import re
from typing import Final

from dayfly.vocabulary import IMAGE_ID

LABEL_CLUSTER: Final = "dayfly.cluster"
LABEL_ROLE: Final = "dayfly.role"
LABEL_INSTANCE: Final = "dayfly.instance"
LABEL_GENERATION: Final = "dayfly.generation"
LABEL_NODE: Final = "dayfly.node"
LABEL_TEMPLATE: Final = "dayfly.template"
"""On a template's volume, which belongs to no cluster: the template's id."""
LABEL_FINGERPRINT: Final = "dayfly.fingerprint"
"""On the container of the registry caches: changes with everything that the container was made of."""
LABEL_IMAGE: Final = "dayfly.image"
LABEL_CONTENTS: Final = "dayfly.contents"
"""What is inside a node image, for readers."""
"""On a node image: its manifest, as JSON (domain/image.py)."""

CACHES_OWNER: Final = "registry-cache"
"""In the place of a cluster's id, on the objects of the registry caches, which are of no cluster."""

_SOCKETS_END: Final = "-sockets"
_IMAGE_REPOSITORY: Final = "dayfly"
_SAVED_VOLUME: Final = re.compile(r"dayfly-(.+)-saved")
_TEMPLATE_VOLUME: Final = re.compile(r"dayfly-template-(.+)")


def container_name(cluster_id: str, part: str) -> str:
    """`dayfly-<id>-<part>`; the part is `net`, `registry` or a node's name."""
    return f"dayfly-{cluster_id}-{part}"


def saved_volume(cluster_id: str) -> str:
    """The volume of a cluster's checkpoints and hibernation; it is removed with the cluster."""
    return f"dayfly-{cluster_id}-saved"


def template_volume(template_id: str) -> str:
    return f"dayfly-template-{template_id}"


def caches_container(instance: str) -> str:
    return f"dayfly-{CACHES_OWNER}-{instance}"


def caches_content_volume(instance: str) -> str:
    return f"dayfly-{CACHES_OWNER}-{instance}-content"


def caches_sockets_volume(instance: str) -> str:
    """The volume of the registry caches' sockets, which clusters' registry containers mount, too."""
    return f"dayfly-{CACHES_OWNER}-{instance}{_SOCKETS_END}"


def is_caches_sockets_volume(name: str) -> bool:
    """Whether `name`, of a volume of the registry caches, is that of their sockets."""
    return name.endswith(_SOCKETS_END)


def caches_labels(instance: str) -> dict[str, str]:
    """The labels of all objects of the registry caches."""
    return {LABEL_CLUSTER: CACHES_OWNER, LABEL_INSTANCE: instance}


def volume_owner(name: str) -> tuple[str, str] | None:
    """The cluster's and the template's id (one of them "") in the volume name `name`; None: not a name of Dayfly's.

    For volumes without labels. Only a record of that id proves that the volume is Dayfly's.
    """
    if template := _TEMPLATE_VOLUME.fullmatch(name):
        return "", template[1]
    if saved := _SAVED_VOLUME.fullmatch(name):
        return saved[1], ""
    return None


def node_name(index: int) -> str:
    """`node01` for 1, `node12` for 12."""
    return f"node{index:02d}"


def image_reference(name: str) -> str:
    """The full reference of an image: `bare` → `dayfly/bare:latest`; a name with a slash keeps its repository.

    `bare@latest` is `bare`; an image's id is its own reference.
    """
    if IMAGE_ID.fullmatch(name):
        return name
    name = name.removesuffix("@latest")
    repository, tag = split_tag(name)
    if "/" not in repository:
        repository = f"{_IMAGE_REPOSITORY}/{repository}"
    return f"{repository}{'@' if '@' in name else ':'}{tag}"


def split_tag(reference: str) -> tuple[str, str]:
    """`host:5000/a/b:tag` → (`host:5000/a/b`, `tag`); the tag is `latest` when there is none.

    A digest takes the tag's place, as in the engine's API: `a/b:tag@sha256:…` → (`a/b`, `sha256:…`).
    """
    named, at, digest = reference.partition("@")
    head, slash, last = named.rpartition("/")
    name, colon, tag = last.partition(":")
    return f"{head}{slash}{name}", digest if at else tag if colon else "latest"
