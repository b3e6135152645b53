"""KubeApi in memory. A time-out takes no time: what is not so now is raised at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from dayfly.domain.addon import identity
from dayfly.drivers.interfaces import ConfigMap, KubeAccess, KubeNode, KubePod, Manifest, OnLate
from dayfly.errors import NodeNotReady, NotUsable
from dayfly.testing.fake_faults import Faults

EARLIER_BOOT = "earlier-boot"
"""The boot id that nodes show after `stale_boot`."""

_LONG_AGO = 1e9


class FakeKube(Faults):
    """The API servers of all clusters. Every node that is asked for is Ready unless it was said not to be.

    Clusters are told apart by their CA. What a test says of a node holds for the node of that name in every cluster.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reachable = True
        self.service_account = True
        self.registered: dict[str, dict[str, KubeNode]] = {}
        """CA of a cluster → its nodes by name."""
        self.config_maps: dict[str, ConfigMap] = {}
        """Address of an API server → the ConfigMap that was last put."""
        self.objects: dict[str, dict[tuple[str, ...], Manifest]] = {}
        """Address of an API server → what was applied and not deleted, by identity()."""
        self.refused_objects: dict[str, str] = {}
        """Name of an object → the answer to whoever applies or deletes it."""
        self.failing_paths: dict[str, str] = {}
        """Path → its answer, which is no success."""
        self.existing_pods: list[KubePod] = []
        self.reported: dict[str, str] = {}
        """Further texts of each report."""
        self.pods_run: list[str] = []
        self._unready: dict[str, str] = {}
        self._stale: set[str] = set()
        self._silent: set[str] = set()
        self._frozen: set[str] = set()
        self._failing_pods: str | None = None

    def not_ready(self, node: str, reason: str = "KubeletNotReady") -> None:
        """`node` does not become Ready, and says `reason`."""
        self._unready[node] = reason

    def stale_boot(self, node: str) -> None:
        """`node` has not reported since it was booted: what it says, Ready or not, is of an earlier boot."""
        self._stale.add(node)

    def silent(self, node: str) -> None:
        """`node` is Ready on record, but its kubelet does not answer."""
        self._silent.add(node)

    def frozen(self, node: str) -> None:
        """The kubelet of `node` does not renew its lease any more."""
        self._frozen.add(node)

    def recovers(self, node: str) -> None:
        """Take back `not_ready`, `stale_boot`, `silent` and `frozen`."""
        self._unready.pop(node, None)
        self._stale.discard(node)
        self._silent.discard(node)
        self._frozen.discard(node)

    def pods_fail(self, reason: str | None) -> None:
        """Pods do not end well, for `reason`; None: they do again."""
        self._failing_pods = reason

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        await self._enter("healthy")
        return self.reachable

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        await self._look("nodes", access, timeout)
        return tuple(self._report(node.name, node.boot_id) for node in self.registered.get(access.ca, {}).values())

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        await self._look("pods", access, timeout)
        return tuple(self.existing_pods)

    async def report(self, access: KubeAccess, *, timeout: float) -> Mapping[str, str]:
        await self._enter("report")
        if not self.reachable:
            return {"nodes": f"not available: no answer within {timeout:g} s\n"}
        nodes = self.registered.get(access.ca, {})
        return {"nodes": "".join(f"node {name}\n" for name in nodes)} | self.reported

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        await self._look("wait_nodes_ready", access, timeout)
        registered = self.registered.setdefault(access.ca, {})
        for name, boot_id in boot_ids.items():
            registered[name] = node = self._report(name, boot_id)
            if on_change is not None:
                on_change(node)
        if late := [name for name in boot_ids if name in self._unready or name in self._stale]:
            evidence = {name: registered[name].reason for name in boot_ids}
            raise NodeNotReady(f"{', '.join(late)} not Ready within {timeout:g} s", evidence=evidence)

    def _report(self, name: str, boot_id: str) -> KubeNode:
        ready, reason = name not in self._unready, self._unready.get(name, "KubeletReady")
        boot_id = EARLIER_BOOT if name in self._stale else boot_id
        return KubeNode(name, ready, reason, boot_id, _LONG_AGO, _LONG_AGO if name in self._frozen else -1.0)

    async def wait_kubelets(
        self, access: KubeAccess, nodes: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        await self._look("wait_kubelets", access, timeout)
        if late := {name: "no answer" for name in nodes if name in self._silent}:
            raise NodeNotReady(f"the kubelets of {', '.join(late)} do not answer within {timeout:g} s", evidence=late)

    async def wait_renewed(self, access: KubeAccess, started: Mapping[str, float], *, timeout: float) -> None:
        await self._look("wait_renewed", access, timeout)
        if late := [name for name in started if name in self._frozen]:
            raise NodeNotReady(f"the kubelets of {', '.join(late)} have not renewed their leases within {timeout:g} s")

    async def wait_usable(
        self, access: KubeAccess, image: str, *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        await self._enter("wait_usable")
        if not self.reachable:
            raise NotUsable(f"no pod could be made within {timeout:g} s")

    async def wait_paths(
        self, access: KubeAccess, paths: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        await self._enter("wait_paths")
        late = {path: self.failing_paths.get(path, "no answer") for path in paths if self._fails(path)}
        if late:
            raise NotUsable(f"{', '.join(late)} not ready within {timeout:g} s", evidence=late)

    def _fails(self, path: str) -> bool:
        return not self.reachable or path in self.failing_paths

    async def labels(
        self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float
    ) -> tuple[Mapping[str, str] | None, ...]:
        await self._look_at_objects("labels", timeout)
        here = self.objects.get(str(access.endpoint), {})
        found = (here.get(identity(item)) for item in objects)
        return tuple(None if one is None else one["metadata"].get("labels", {}) for one in found)

    async def apply(self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float) -> None:
        here = self.objects.setdefault(str(access.endpoint), {})
        for item in objects:
            await self._look_at_objects("apply", timeout, item)
            here[identity(item)] = item

    async def delete(
        self,
        access: KubeAccess,
        objects: Sequence[Manifest],
        *,
        label: tuple[str, str],
        timeout: float,
        on_late: OnLate | None = None,
    ) -> None:
        here = self.objects.get(str(access.endpoint), {})
        for item in objects:
            await self._look_at_objects("delete", timeout, item)
            found = here.get(identity(item))
            if found is not None and found["metadata"].get("labels", {}).get(label[0]) == label[1]:
                del here[identity(item)]

    async def _look_at_objects(self, method: str, timeout: float, item: Manifest | None = None) -> None:
        await self._enter(method)
        if not self.reachable:
            raise NotUsable(f"no answer within {timeout:g} s")
        if item is not None and (answer := self.refused_objects.get(item["metadata"]["name"])) is not None:
            raise NotUsable(f"{item['metadata']['name']} was refused: {answer}", evidence={"answer": answer})

    async def check_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        await self._enter("check_config_map")
        if not self.reachable or self.config_maps.get(str(access.endpoint)) != wanted:
            raise NotUsable(f"ConfigMap {wanted.name} not found within {timeout:g} s")

    async def put_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        await self._enter("put_config_map")
        if not self.reachable:
            raise NotUsable(f"ConfigMap {wanted.name} not accepted within {timeout:g} s")
        self.config_maps[str(access.endpoint)] = wanted

    async def wait_service_account(self, access: KubeAccess, *, timeout: float, on_late: OnLate | None = None) -> None:
        await self._enter("wait_service_account")
        if not (self.reachable and self.service_account):
            raise NotUsable(f"no service account default/default within {timeout:g} s")

    async def run_pod(
        self,
        access: KubeAccess,
        name: str,
        *,
        image: str,
        argv: Sequence[str],
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
