"""What callers send of clusters, as models. Checks that need no look at the world happen here; the others in
api/clusters/spec_resolver.py.

Not here: resets, checkpoints, templates and pools (pools.py).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, model_validator

from dayfly.schemas.base import ChangeRequestModel, RequestModel
from dayfly.schemas.json_schemas import (
    DISK,
    NODE_OR_ADDRESS,
    ON_ONE_LINE,
    ON_ONE_LINE_NOT_BLANK,
    SERVICE_ADDRESS,
    SPECS_BEFORE_READY,
    UNTIL_OR_SECONDS,
)
from dayfly.schemas.texts import is_line, is_not_blank
from dayfly.vocabulary import (
    ADDON_NAME,
    CLUSTER_NAME,
    MAX_ADDONS,
    MAX_NODES,
    MAX_PORTS,
    MAX_SPECS,
    NODE_IMAGE,
    PORT_NAME,
    ClusterReadiness,
    Isolation,
    Restart,
    VmsUnderHold,
)

MAX_LABELS: Final = 32
MAX_LABEL_VALUE: Final = 255
MAX_SPEC: Final = 400
"""Characters: the longest name of a spec of Kubernetes has some 250."""
MAX_REASON: Final = 256
MAX_OWNER: Final = 63
MAX_NUMBER: Final = 2**31 - 1
"""No size is near it; it keeps what is computed of a request small."""
MIN_HEARTBEAT_SECONDS: Final = 5
MAX_HEARTBEAT_SECONDS: Final = 24 * 3600
MIN_IDLE_SECONDS: Final = 60
OWNER: Final = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"

_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """At most 32; keys as in Kubernetes, 63 characters; values printable, 255 characters. Raises ValueError."""
    if len(labels) > MAX_LABELS:
        raise ValueError(f"a cluster has at most {MAX_LABELS} labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(
                "a label's key has at most 63 letters, digits, '.', '_', '/' and '-', and starts and ends with "
                "a letter or a digit"
            )
        if len(value) > MAX_LABEL_VALUE or not is_line(value):
            raise ValueError(f"the value of the label {key!r} is not {MAX_LABEL_VALUE} printable characters at most")
    return labels


Labels = Annotated[
    dict[str, str],
    AfterValidator(check_labels),
    Field(
        json_schema_extra={
            "maxProperties": MAX_LABELS,
            "propertyNames": {"pattern": f"^{_LABEL_KEY.pattern}$"},
            "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_VALUE, **ON_ONE_LINE},
        }
    ),
]


def _check_reason(reason: str) -> str:
    if not is_not_blank(reason):
        raise ValueError("a reason is printable, and not blank")
    return reason


def _no_number(given: Any) -> Any:
    if not isinstance(given, str | datetime):
        raise ValueError("a time is a text after RFC 3339, with its offset: 2026-01-31T18:00:00Z")  # noqa: TRY004
    return given


class SizeRequest(RequestModel):
    """The size of a node. What is left out comes from the image."""

    vcpus: int | None = Field(default=None, ge=1, le=MAX_NUMBER, description="Virtual CPUs.")
    memory_mib: int | None = Field(default=None, ge=1, le=MAX_NUMBER, description="Memory, in MiB.")
    disk_gib: int | None = Field(
        default=None,
        ge=1,
        le=MAX_NUMBER,
        description="The root disk, in GiB; it is thinly provisioned.",
        json_schema_extra=DISK,
    )


class WorkersRequest(SizeRequest):
    """The workers: how many, and the size of each."""

    count: int = Field(
        default=0,
        ge=0,
        description="Nodes beside the control plane; 99 nodes in all at most.",
        json_schema_extra={"maximum": MAX_NODES - 1},
    )


class HoldRequest(RequestModel):
    """Keeps a failed or expired cluster for inspection. Give either `until` or `seconds`."""

    model_config = ConfigDict(json_schema_extra=UNTIL_OR_SECONDS)

    until: Annotated[AwareDatetime, BeforeValidator(_no_number), Field(strict=False)] | None = Field(
        default=None, description="When the hold ends; the server limits how far ahead that may be."
    )
    seconds: int | None = Field(default=None, ge=1, description="The same, counted from when the request arrives.")
    reason: Annotated[str, AfterValidator(_check_reason)] = Field(
        min_length=1,
        max_length=MAX_REASON,
        description="The reason, shown with the cluster; printable.",
        json_schema_extra=ON_ONE_LINE_NOT_BLANK,
    )
    vms: VmsUnderHold = Field(
        default="running",
        description="What becomes of the machines of a cluster that failed or expired and is held: they stay as they "
        "are (`running`), are stopped with their disks kept (`stopped`), or are hibernated, to be resumed where they "
        "were (`hibernated`; those of a cluster that failed are stopped). A cluster that is ready and within its time "
        "is not touched.",
    )

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.until is None) == (self.seconds is None):
            raise ValueError("a hold has either `until` or `seconds`")
        return self


def check_addons(addons: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError where one is named twice."""
    if len(set(addons)) < len(addons):
        raise ValueError("an add-on is named twice")
    return addons


AddonNames = Annotated[
    tuple[Annotated[str, Field(pattern=f"^(?:{ADDON_NAME.pattern})$")], ...],
    Field(strict=False, max_length=MAX_ADDONS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(check_addons),
]


class ShapeRequest(RequestModel):
    """Shape and owner of a cluster, template or pool. Templates serve clusters of the same shape and owner."""

    image: str = Field(
        min_length=1,
        max_length=255,
        pattern=f"^(?:{NODE_IMAGE.pattern})$",
        description="A node image: a name (`k8s-debian`: the promoted image, or else the last baked or pulled one), "
        "`NAME@VERSION` with a version of Kubernetes or its beginning (`k8s@1.35`: the image last promoted that has "
        "it), `NAME@sha256:…` or a digest (that image), or a full reference (`registry.example/dayfly/bare:1`).",
        examples=["k8s-debian"],
    )
    control_plane: SizeRequest = Field(
        default=SizeRequest(), description="The first node: the control plane, where the image has Kubernetes."
    )
    workers: WorkersRequest = WorkersRequest()
    readiness: ClusterReadiness | None = Field(
        default=None,
        description="What `ready` promises: a pod has run (`usable`, the default), all nodes are Ready (`nodes`), "
        "or all nodes answer on SSH (`booted`, all that an image without Kubernetes can promise). Of a fork that "
        "is not only to be booted: a pod has run in its template, and SSH has answered in that template's first fork; "
        "its own nodes are Ready, and their kubelets answer. `conformance`: `usable`, and then a list of Kubernetes' "
        "own conformance specs has passed on this cluster, before it is ready for the first time and after each reset "
        "to its pristine state, be it a fork or not. It does not run when a cluster resumes, recovers or goes back to "
        "a checkpoint, beside what its caller runs. Only clusters, of images that have the tests "
        "(`k8s-debian-conformance`); they may be forks of a template, or members of a pool, whose readiness is "
        "`usable`.",
    )
    owner: str = Field(
        default="default",
        max_length=MAX_OWNER,
        pattern=OWNER,
        description="The team that it belongs to. Left out: the caller's. Only an operator may name another. "
        "The queue for capacity is fair between owners, and first come, first served for one owner; templates and "
        "pools serve their owner's clusters only.",
        examples=["team-storage"],
    )
    addons: AddonNames = Field(
        default=(),
        description="Add-ons of `GET /v1/addons`, by name. A cluster gets those that they need as well, and is ready "
        "when all of them work.",
        examples=[["metrics-server"]],
    )


class PortRequest(RequestModel):
    """A TCP port of a node or of a Service's address, published on the host. A NodePort is a port of every node."""

    model_config = ConfigDict(json_schema_extra=NODE_OR_ADDRESS)

    name: str = Field(
        pattern=f"^(?:{PORT_NAME.pattern})$",
        description="The endpoint is then `ports/NAME`: at most 40 lower-case letters, digits and '-'.",
        examples=["web"],
    )
    node: str | None = Field(
        default=None,
        pattern=r"^node[0-9]{2}$",
        description="The node whose port it is. Left out, and without an `address`: node01.",
    )
    address: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$",
        description="The Service's address whose port it is, instead of a node: one of 192.168.67.1 to 192.168.67.254 "
        "for a Service of type LoadBalancer, or of 10.96.0.0/12 for a Service with this `clusterIP`. The Service may "
        "be created later. Only with an image that has Kubernetes.",
        examples=["192.168.67.10"],
        json_schema_extra=SERVICE_ADDRESS,
    )
    port: int = Field(ge=1, le=65535, description="That port's number; the host's is chosen.", examples=[30080])

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.node is not None and self.address is not None:
            raise ValueError("a port has a node or an address, not both")
        return self


def check_specs(specs: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for an entry that cannot be the name of a spec, nor a pattern."""
    for one in specs:
        if not is_not_blank(one):
            raise ValueError("a spec's name or pattern is printable, and not blank")
    return specs


Specs = Annotated[
    tuple[
        Annotated[str, Field(min_length=1, max_length=MAX_SPEC, json_schema_extra=ON_ONE_LINE_NOT_BLANK)],
        ...,
    ],
    Field(strict=False),
    AfterValidator(check_specs),
]
"""Conformance specs, by name or pattern."""


def check_ports(ports: tuple[PortRequest, ...]) -> tuple[PortRequest, ...]:
    """Raises ValueError where two have the same name."""
    seen = set[str]()
    for one in ports:
        if one.name in seen:
            raise ValueError(f"two ports have the name {one.name!r}")
        seen.add(one.name)
    return ports


class ClusterRequest(ShapeRequest):
    """A cluster as a caller asks for it."""

    model_config = ConfigDict(json_schema_extra=SPECS_BEFORE_READY)

    name: str | None = Field(
        default=None,
        description="A DNS label of at most 40 characters that starts with a letter, unique among the team's "
        "clusters that are not yet deleted. Left out: Dayfly makes one.",
        examples=["demo"],
        json_schema_extra={"pattern": f"^{CLUSTER_NAME.pattern}$"},
    )
    isolation: Isolation = Field(
        default="shared",
        description="`shared`: it may be a fork of a template of its owner, ready in seconds; forks of one template "
        "share a cluster CA, so that whoever has an administrator's credentials of one of them is an administrator of "
        "all. `strict`: it is made from nothing, with a CA of its own. Left out: that of the team's quota, `shared` or "
        "`strict`.",
    )
    idle_seconds: int | None = Field(
        default=None,
        ge=MIN_IDLE_SECONDS,
        le=MAX_NUMBER,
        description="Hibernate it by itself after so many seconds without traffic through its published ports. "
        "Left out: never.",
    )
    labels: Labels = Field(default={}, description="Whatever helps to find it again.", examples=[{"team": "storage"}])
    ttl_seconds: int | None = Field(
        default=None,
        ge=1,
        description="Delete it by itself so many seconds after it was first ready, or failed: time in the queue, and "
        "time to be made, cost nothing of it. Left out: the server's default; where it has none, never.",
    )
    heartbeat_interval_seconds: int | None = Field(
        default=None,
        ge=MIN_HEARTBEAT_SECONDS,
        le=MAX_HEARTBEAT_SECONDS,
        description="Delete it by itself when no `POST /v1/clusters/{cluster}/heartbeat` came for so many seconds; "
        "counts from its creation on, also while it waits. Left out: no heartbeat is expected.",
    )
    restart: Restart = Field(
        default="always",
        description="After the engine, the host or a machine of it went down: bring the cluster back (`always`; with "
        "the disks as they were), or let it fail (`never`).",
    )
    hold: HoldRequest | None = Field(
        default=None, description="Keep the cluster if it fails or expires, for a post-mortem."
    )
    ports: Annotated[tuple[PortRequest, ...], Field(strict=False), AfterValidator(check_ports)] = Field(
        default=(),
        max_length=MAX_PORTS,
        description="Ports of nodes and Services to publish on the host, beside the API, the registry and SSH. They "
        "cannot be changed later, and stay the same through resets and hibernation. A cluster with ports is never "
        "taken from a pool; it may be a fork.",
    )
    conformance: Specs = Field(
        default=(),
        max_length=MAX_SPECS,
        description="With the readiness `conformance`: the specs to run, one after the other. An entry is the full "
        "name of a conformance spec, or a regular expression (Perl's syntax) that names have; they are compared on the "
        "cluster, which fails (conformance_failed) where no name fits. Left out: the image's short list. A spec that "
        "skips itself counts for nothing; at least one must pass.",
        examples=[["\\[sig-network\\] Services should serve a basic endpoint from pods"]],
    )

    @model_validator(mode="after")
    def _specs_run_before_ready(self) -> Self:
        if self.conformance and self.readiness != "conformance":
            raise ValueError('conformance: the list runs only with `"readiness": "conformance"`')
        return self


class ChangeRequest(ChangeRequestModel):
    """Update of a cluster; omitted fields keep their values."""

    ttl_seconds: int | None = Field(
        default=None,
        ge=1,
        description="The whole time to live, counted as at creation: from when the cluster was first ready, or failed. "
        "It is not added to the present one, so the same request sent twice extends once. null: the server's default; "
        "where it has none, never.",
    )
    labels: Labels = Field(default={}, description="All its labels from now on; those not given are gone.")
    hold: HoldRequest | None = Field(
        default=None, description="The hold from now on, in place of any before. null: none."
    )
    idle_seconds: int | None = Field(
        default=None,
        ge=MIN_IDLE_SECONDS,
        le=MAX_NUMBER,
        description="Hibernate it by itself after so many seconds without traffic through its published ports, counted "
        "from this request on. null: never.",
    )
    addons: AddonNames = Field(
        default=(),
        description="All its add-ons from now on. The others are removed, with all their objects; those that failed "
        "are tried again. The cluster stays ready meanwhile: its `addons` have the states. It must be ready, without a "
        "pending request.",
    )
