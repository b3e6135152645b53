"""What callers send, as models. Checks that need no look at the world happen here; the others in specs.py."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dayfly.domain import naming
from dayfly.domain.spec import Readiness

MAX_LABELS: Final = 32
MAX_LABEL_VALUE: Final = 256

_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_IMAGE: Final = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """At most 32; keys as in Kubernetes, 63 characters; values printable, 256 characters. Raises ValueError."""
    if len(labels) > MAX_LABELS:
        raise ValueError(f"a cluster has at most {MAX_LABELS} labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(
                "a label's key has at most 63 letters, digits, '.', '_', '/' and '-', and starts and ends with "
                "a letter or a digit"
            )
        if len(value) > MAX_LABEL_VALUE or not value.isprintable():
            raise ValueError(f"the value of the label {key!r} is not {MAX_LABEL_VALUE} printable characters at most")
    return labels


class SizeRequest(_Strict):
    """The size of a node. What is left out comes from the image."""

    vcpus: int | None = Field(default=None, ge=1, description="Virtual CPUs.")
    memory_mib: int | None = Field(default=None, ge=1, description="Memory, in MiB.")
    disk_gib: int | None = Field(default=None, ge=1, description="The root disk, in GiB; it is thinly provisioned.")


class WorkersRequest(SizeRequest):
    """The workers: how many, and the size of each."""

    count: int = Field(default=0, ge=0, description="Nodes beside the control plane; 99 nodes in all at most.")


class ClusterRequest(_Strict):
    """A cluster as a caller asks for it."""

    name: str | None = Field(
        default=None,
        description="A DNS label of at most 40 characters that starts with a letter, unique among the clusters that "
        "are not yet deleted. Left out: Dayfly makes one.",
        examples=["demo"],
        json_schema_extra={"pattern": f"^{naming.CLUSTER_NAME.pattern}$"},
    )
    image: str = Field(
        min_length=1,
        max_length=255,
        pattern=_IMAGE,
        description="A node image: a recipe's name (`k8s-debian`) or a full reference "
        "(`registry.example/dayfly/bare:1`).",
        examples=["k8s-debian"],
    )
    control_plane: SizeRequest = Field(
        default=SizeRequest(), description="The first node: the control plane, where the image has Kubernetes."
    )
    workers: WorkersRequest = WorkersRequest()
    readiness: Readiness | None = Field(
        default=None,
        description="What `ready` promises: a pod has run (`usable`, the default), all nodes are Ready (`nodes`), "
        "or all nodes answer on SSH (`booted`, all that an image without Kubernetes can promise).",
    )
    labels: Annotated[dict[str, str], AfterValidator(check_labels)] = Field(
        default={}, description="Whatever helps to find it again.", examples=[{"team": "storage"}]
    )
    ttl_seconds: int | None = Field(
        default=None, ge=1, description="Delete it by itself this long after it was asked for. Left out: never."
    )
