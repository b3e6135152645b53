"""The cluster under test: one that a Dayfly service serves, or any cluster by its kubeconfig and registry."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.client import Client
from dayfly.domain.cluster.naming import split_tag
from dayfly.images.container import TAG_LENGTH
from tests.conformance.records import Kind
from tests.conformance.registry import push_all

RESET_SECONDS: Final = 1800.0
"""A reset of a cold cluster boots it again."""


class NotForked(Exception):
    """A reset made a cold cluster of a fork: its results would belong to another record."""


@dataclass(frozen=True)
class Target:
    """`image` names the cluster's node image by its bake, or is `unknown`. `reset`: None, if it cannot be reset."""

    kind: Kind
    kubeconfig: Path
    registry: str
    image: str
    kubernetes: str
    reset: Callable[[], None] | None = None

    def prepare(self, archives: Sequence[Path]) -> None:
        """Make the cluster pristine, if that is possible, and give its registry the images."""
        if self.reset is not None:
            self.reset()
        push_all(archives, self.registry)


def _baked(reference: str, digest: str) -> str:
    """`dayfly/k8s-debian:<digest>`, the name that the bake gave: the same on every host that bakes the same inputs."""
    repository, _ = split_tag(reference)
    return f"{repository}:{digest[:TAG_LENGTH]}"


@contextmanager
def served(client: Client, name: str) -> Iterator[Target]:
    """The cluster `name` of the service. It stays ready for the whole block, and resets go to its first ready state."""
    cluster = client.wait_ready(name, timeout_seconds=RESET_SECONDS)
    beats = client.keep_alive(cluster.id) if cluster.heartbeat_interval_seconds else nullcontext()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, beats:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(client.kubeconfig(cluster.id))

        def reset() -> None:
            # Ports and kubeconfig stay.
            client.reset(cluster.id)
            pristine = client.wait_ready(cluster.id, timeout_seconds=RESET_SECONDS)
            if cluster.template is not None and pristine.not_forked_because is not None:
                raise NotForked(f"{pristine.name} was reset from its image: {pristine.not_forked_because}")

        yield Target(
            kind="cold" if cluster.template is None else "fork",
            kubeconfig=kubeconfig,
            registry=client.registry(cluster.id).push,
            image=_baked(cluster.image, cluster.image_digest),
            kubernetes=cluster.kubernetes_version or "unknown",
            reset=reset,
        )
