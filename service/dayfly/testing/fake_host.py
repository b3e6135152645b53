"""What stands behind FakeEngine: containers, volumes, networks and ports as a host has them, and levers for tests.

Kept cheap, for thousands of short lives in one test: plain objects, indexes, no copies. The calls that steps make of
it are in fake_engine.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal
from weakref import WeakSet

from dayfly.clock import SystemClock
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.domain.cluster.qemu_cmdline import START_FILE, START_VARIABLE
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.interfaces import EngineEvent, EngineInfo, ExecResult
from dayfly.errors import CommandFailed, EngineRefused, EngineUnavailable, PortsExhausted
from dayfly.testing.fake_container import Command, FakeContainer, FakeObject, Watcher
from dayfly.testing.fake_faults import Faults

KILLED: Final = 137
_ANY_PORT: Final = range(20000, 60000)
_REMEMBERED_EVENTS: Final = 100


class FakeHost(Faults):
    """`images` are those it has; None: every image."""

    def __init__(self, *, instance: str = "default", images: set[str] | None = None) -> None:
        super().__init__()
        self.instance = instance
        self.images = images
        self.host = EngineInfo("20.10.0", "6.1.0", 4, 16 << 30, "overlay2", 2, "systemd", "/var/lib/docker", True)
        """What info() tells."""
        self.containers: dict[str, FakeContainer] = {}
        self.volumes: dict[str, FakeObject] = {}
        self.networks: dict[str, FakeObject] = {}
        self.in_use: set[str] = set()
        """Names of volumes and networks that cannot be removed now."""
        self.survivors: set[str] = set()
        """Names of containers, volumes and networks that the engine claims to remove, and that stay."""
        self.created: list[str] = []
        """The names of all containers ever created, in order."""
        self.removed: list[str] = []
        """The names of all containers, volumes and networks ever removed, in order."""
        self.taken_ports: set[int] = set()
        """Host ports that somebody else has."""
        self._exits: dict[str, tuple[int, str]] = {}
        self._command: Command = lambda container, argv, stdin: ExecResult(0, b"", b"")  # noqa: ARG005
        self._of_cluster: dict[str, dict[str, FakeContainer]] = {}
        self._used_ports: set[int] = set()
        self._next_port = 0
        self._made = 0
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._told: deque[EngineEvent] = deque(maxlen=_REMEMBERED_EVENTS)
        self._clock = SystemClock()
        self._last_moment = self._clock.now()
        self._down = False
        self._connections = 0
        """Counts how often all connections broke: who waited over one of these breaks must be told."""

    # -- what tests tell it

    def exits_at_start(self, name_or_role: str, exit_code: int = 1, log: str = "") -> None:
        """Containers of that name, node or role end as soon as they start."""
        self._exits[name_or_role] = (exit_code, log)

    def exit(self, name: str, exit_code: int = 1, log: str = "") -> None:
        """A running container ends by itself, now."""
        container = self.containers[name]
        if log:
            container.log.append(log)
        self._end(container, exit_code)

    def on_exec(self, command: Command) -> None:
        """What `exec` does from now on (until then: nothing, successfully)."""
        self._command = command

    def remove_by_hand(self, name: str) -> None:
        """Somebody removes a container, with its files, behind our back."""
        self._delete(self.containers[name])

    def plant(self, kind: Literal["container", "volume", "network"], name: str, labels: Mapping[str, str]) -> None:
        """Something that was not made through us: a running container, a volume or a network."""
        if kind == "container":
            planted = self._add(ContainerSpec(name, "node", "planted", (), dict(labels)))
            planted.state, planted.started_at = "running", self._moment()
        else:
            things = self.volumes if kind == "volume" else self.networks
            things[name] = FakeObject(name if kind == "volume" else self._new_id(), name, dict(labels))

    def disconnect(self) -> None:
        """Every event stream ends."""
        for watcher in self._watchers:
            watcher.inbox.put_nowait(None)

    def repeat_events(self) -> None:
        """The last events are told once more, late."""
        for event in tuple(self._told):
            self._pass_on(event)

    def engine_down(self, exit_code: int | None = None) -> None:
        """Nobody answers until `engine_up`. Containers end with `exit_code`, which nobody sees; None: they run on."""
        self._down = True
        self._break_connections()
        if exit_code is not None:
            for container in [found for found in self.containers.values() if found.alive]:
                self._end(container, exit_code, seen=False)

    def engine_up(self) -> None:
        self._down = False

    def restart_engine(self, exit_code: int = KILLED) -> None:
        """All containers end unseen, all connections break; calls are answered again at once."""
        self.engine_down(exit_code)
        self.engine_up()

    @property
    def is_down(self) -> bool:
        """Whether nobody answers."""
        return self._down

    # -- for FakeEngine

    async def _enter(self, method: str) -> None:
        await super()._enter(method)
        if self._down:
            raise EngineUnavailable(f"{method}: Cannot connect to Docker Engine")

    def _of(self, cluster_id: str) -> list[FakeContainer]:
        found = self._of_cluster.get(cluster_id, {}).values()
        return [container for container in found if container.spec.labels.get(LABEL_INSTANCE) == self.instance]

    def files_of(self, container: FakeContainer, path: str, *, write: bool = False) -> dict[str, object]:
        """The files of the volume that `container` sees at `path`. Raises CommandFailed where there is none."""
        for volume in container.spec.volumes:
            if path.startswith(f"{volume.path}/"):
                if write and volume.read_only:
                    raise CommandFailed(f"{container.spec.name}: {path}: read-only file system")
                return self.volumes[volume.name].files
        raise CommandFailed(f"{container.spec.name}: {path}: no such file or folder")

    def _create(self, spec: ContainerSpec) -> FakeContainer:
        ports = self._choose_ports(spec)
        for volume in spec.volumes:
            self.volumes.setdefault(volume.name, FakeObject(volume.name, volume.name, dict(volume.labels)))
        container = self._add(spec)
        container.ports = ports
        self.created.append(spec.name)
        self._tell(container, "create")
        return container

    def _start(self, container: FakeContainer) -> None:
        joins = container.spec.joins
        if joins is not None and (joins not in self.containers or self.containers[joins].state != "running"):
            raise EngineRefused(f"cannot join network of a non running container: {joins}")
        for port in container.ports.values():
            if port in self.taken_ports:
                raise PortsExhausted(
                    f"container {container.spec.name} cannot start again: its host port {port} is taken"
                )
        container.state, container.exit_code = "running", None
        container.starts += 1
        container.started_at = self._moment()
        container.stopped = asyncio.Event()
        self._start_machine(container)
        self._tell(container, "start")
        for key in (container.spec.name, container.spec.node, container.spec.role):
            if key in self._exits:
                exit_code, log = self._exits[key]
                container.log.append(log)
                self._end(container, exit_code)
                return

    def _start_machine(self, container: FakeContainer) -> None:
        """As /usr/lib/dayfly/node does: the overlay, then QEMU."""
        said = container.files.get(START_FILE, container.spec.environment.get(START_VARIABLE, "keep").encode())
        disk, *command = said.decode().splitlines()
        action, _, saved = disk.partition(" ")
        if action == "over" or not container.disk:
            container.disk = f"{saved or container.spec.image}+{self._new_id()}"
        container.memory, container.identity, container.quiesced = f"memory {self._new_id()}", "", False
        container.clock = None if "-incoming" in command else self._clock
        container.vm_status = "inmigrate" if "-incoming" in command else "running"
        container.moves += container.vm_status == "running"

    def _end(self, container: FakeContainer, exit_code: int, *, seen: bool = True) -> None:
        container.state, container.exit_code = "exited", exit_code
        container.stopped.set()
        if seen:
            self._tell(container, "die")

    def _delete(self, container: FakeContainer) -> None:
        if container.alive:
            self._end(container, KILLED)
        name, cluster_id = container.spec.name, container.spec.labels.get(LABEL_CLUSTER, "")
        del self.containers[name]
        del self._of_cluster[cluster_id][name]
        if not self._of_cluster[cluster_id]:
            del self._of_cluster[cluster_id]
        self._used_ports.difference_update(container.ports.values())
        self.removed.append(name)
        self._tell(container, "destroy")

    # -- within

    def _add(self, spec: ContainerSpec) -> FakeContainer:
        container = self.containers[spec.name] = FakeContainer(spec, self._new_id())
        self._of_cluster.setdefault(spec.labels.get(LABEL_CLUSTER, ""), {})[spec.name] = container
        return container

    def _new_id(self) -> str:
        self._made += 1
        return f"id{self._made}"

    def _choose_ports(self, spec: ContainerSpec) -> dict[int, int]:
        first, _, last = (spec.publication.port_range or "").partition("-")
        choice = range(int(first), int(last) + 1) if first else _ANY_PORT
        chosen: dict[int, int] = {}
        for port in spec.ports:
            for _ in choice:
                # The next after the last one chosen: a port that was just given back is not given out again soon.
                host_port = choice[self._next_port % len(choice)]
                self._next_port += 1
                if host_port not in self._used_ports and host_port not in self.taken_ports:
                    chosen[port] = host_port
                    self._used_ports.add(host_port)
                    break
            else:
                self._used_ports.difference_update(chosen.values())
                raise PortsExhausted(f"container {spec.name}: no host port is free")
        return chosen

    def _moment(self) -> datetime:
        """Now, and later than every moment before."""
        self._last_moment = max(self._clock.now(), self._last_moment + timedelta(microseconds=1))
        return self._last_moment

    def _break_connections(self) -> None:
        self._connections += 1
        self.disconnect()
        for container in self.containers.values():
            waited_for, container.stopped = container.stopped, asyncio.Event()
            waited_for.set()

    def _tell(self, container: FakeContainer, action: str) -> None:
        labels = container.spec.labels
        if labels.get(LABEL_INSTANCE) != self.instance:
            return
        exit_code = container.exit_code if action == "die" else None
        cluster_id = labels.get(LABEL_CLUSTER, "")
        event = EngineEvent(self._moment(), action, container.spec.name, cluster_id, exit_code)
        self._told.append(event)
        self._pass_on(event)

    def _pass_on(self, event: EngineEvent) -> None:
        for watcher in self._watchers:
            if watcher.cluster_id is None or watcher.cluster_id == event.cluster_id:
                watcher.inbox.put_nowait(event)
