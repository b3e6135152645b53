"""KubeApi in memory. A time-out takes no time: what is not so now is raised at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dayfly.drivers.fake_faults import Faults
from dayfly.drivers.protocols import KubeAccess, KubeNode, KubePod
from dayfly.errors import NodeNotReady, NotUsable


class FakeKube(Faults):
    """One API server. Every node that is asked for is Ready unless it was said not to be."""

    def __init__(self) -> None:
        super().__init__()
        self.reachable = True
        self.service_account = True
        self.registered: dict[str, KubeNode] = {}
        self.existing_pods: list[KubePod] = []
        self.pods_run: list[str] = []
        self._unready: dict[str, str] = {}
        self._failing_pods: str | None = None

    def not_ready(self, node: str, reason: str = "KubeletNotReady") -> None:
        """`node` does not become Ready, and says `reason`."""
        self._unready[node] = reason

    def pods_fail(self, reason: str | None) -> None:
        """Pods do not end well, for `reason`; None: they do again."""
        self._failing_pods = reason

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:  # noqa: ARG002
        await self._enter("healthy")
        return self.reachable

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        await self._look("nodes", access, timeout)
        return tuple(self.registered.values())

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        await self._look("pods", access, timeout)
        return tuple(self.existing_pods)

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        names: Sequence[str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        await self._look("wait_nodes_ready", access, timeout)
        for name in names:
            node = KubeNode(name, ready=name not in self._unready, reason=self._unready.get(name, "KubeletReady"))
            self.registered[name] = node
            if on_change is not None:
                on_change(node)
        if late := [name for name in names if name in self._unready]:
            evidence = {name: self.registered[name].reason for name in names}
            raise NodeNotReady(f"{', '.join(late)} not Ready within {timeout:g} s", evidence=evidence)

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:  # noqa: ARG002
        await self._enter("wait_service_account")
        if not (self.reachable and self.service_account):
            raise NotUsable(f"no service account default/default within {timeout:g} s")

    async def run_pod(
        self,
        access: KubeAccess,  # noqa: ARG002
        name: str,
        *,
        image: str,  # noqa: ARG002
        argv: Sequence[str],  # noqa: ARG002
        timeout: float,
        on_change: Callable[[KubePod], None] | None = None,
    ) -> None:
        await self._enter("run_pod")
        reason = "unreachable" if not self.reachable else self._failing_pods
        if reason is not None:
            raise NotUsable(f"pod {name} did not end within {timeout:g} s: Pending", evidence={"pod": reason})
        if on_change is not None:
            for phase in ("Pending", "Running", "Succeeded"):
                on_change(KubePod(name, "default", phase, "node01"))
        self.pods_run.append(name)

    async def _look(self, method: str, access: KubeAccess, timeout: float) -> None:
        await self._enter(method)
        if not self.reachable:
            raise NodeNotReady(f"the API server at {access.endpoint} does not answer within {timeout:g} s")
