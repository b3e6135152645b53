"""Specs and clusters for tests; their numbers are arbitrary unless a test names them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dayfly.domain.addon import LABEL_ADDON, Addon, AddonStatus
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec, Readiness
from dayfly.domain.image import Conformance, ImageManifest, KubernetesNode, NodeSize

SIZE = NodeSize(vcpus=2, memory_mib=512, disk_gib=8)
_KUBERNETES = KubernetesNode(version="v1.20.2", smoke_image="registry/smoke:1", ready_paths=("/dns/ready",))
CONFORMANCE = Conformance(program="/usr/lib/dayfly/conformance/conformance", specs=("[sig-a] one", "[sig-b] two"))
IMAGE_ID = "sha256:" + "ab" * 32
IMAGE_DIGEST = "12" * 32


def make_manifest(*, kubernetes: bool = False, conformance: bool = False) -> ImageManifest:
    node = _KUBERNETES.model_copy(update={"conformance": CONFORMANCE}) if conformance else _KUBERNETES
    return ImageManifest(
        recipe="k8s-test" if kubernetes else "bare",
        kernel_arguments=("quiet",),
        control_plane=SIZE,
        worker=SIZE,
        minimum=NodeSize(vcpus=1, memory_mib=256, disk_gib=4),
        kubernetes=node if kubernetes or conformance else None,
        digest=IMAGE_DIGEST,
    )


def make_spec(
    *,
    workers: int = 0,
    kubernetes: bool = False,
    readiness: Readiness = "usable",
    image_id: str = IMAGE_ID,
    addons: Sequence[Addon] = (),
    conformance: Sequence[str] = (),
) -> ClusterSpec:
    return ClusterSpec(
        image="bare",
        image_id=image_id,
        manifest=make_manifest(kubernetes=kubernetes, conformance=bool(conformance)),
        control_plane=SIZE,
        worker=SIZE,
        workers=workers,
        readiness=readiness,
        addons=tuple(addons),
        conformance=tuple(conformance),
    )


def make_addon(name: str = "tea", *, needs: Sequence[str] = (), parts: Sequence[str] = ("account", "pot")) -> Addon:
    """An add-on with an object for each of `parts`, called `NAME-PART`, and the path `/apis/NAME/ready`."""
    objects = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-{part}", "namespace": "kube-system", "labels": {LABEL_ADDON: name}},
            "data": {"part": part},
        }
        for part in parts
    ]
    return Addon(name=name, needs=tuple(needs), objects=tuple(objects), ready_paths=(f"/apis/{name}/ready",))


def make_cluster(
    spec: ClusterSpec | None = None,
    *,
    cluster_id: str = "0123456789ab",
    addons: tuple[AddonStatus, ...] = (),
    boot_source: BootSource | None = None,
) -> Cluster:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Cluster(
        id=cluster_id,
        name="demo",
        spec=spec or make_spec(),
        desired=Desired.PRESENT,
        phase=Phase.PROVISIONING,
        created_at=now,
        updated_at=now,
        addons=addons,
        boot_source=boot_source,
    )
