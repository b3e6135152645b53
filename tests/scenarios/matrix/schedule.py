"""Faults and requests (deeds) for clusters, their engine and their processes, and random schedules of them.

Pure values with a readable form: a failing schedule is printed as a list, shrunk to the deeds that it needs. Not here:
performing deeds (stage.py), and invariants (invariants.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, Literal

from hypothesis import strategies as st

from dayfly.domain.cluster.spec import Restart, VmsUnderHold
from tests.support.mortal import Moment

Part = Literal["store", "engine", "ssh", "kube", "machines"]
"""The kinds of a process's calls to the outside."""
PARTS: Final = ("net", "registry", "node01", "node02")


@dataclass(frozen=True)
class Deed:
    """One thing that happens, `after` so many calls of the processes to the outside (or when they rest)."""

    after: int = 0


@dataclass(frozen=True)
class Create(Deed):
    """A cluster, in the queue."""

    nodes: int = 1
    kubernetes: bool = False
    conformance: bool = False
    """With Kubernetes: a list of conformance specs runs before it is ready."""
    restart: Restart = "always"
    ttl: int | None = None
    heartbeat: int | None = None
    hold: int | None = None
    owner: str = "ann"


@dataclass(frozen=True)
class OfCluster(Deed):
    """Happens to the n-th cluster, counted round."""

    cluster: int = 0


@dataclass(frozen=True)
class Delete(OfCluster):
    pass


@dataclass(frozen=True)
class Hold(OfCluster):
    seconds: int = 100
    vms: VmsUnderHold = "running"


@dataclass(frozen=True)
class Unhold(OfCluster):
    pass


@dataclass(frozen=True)
class Extend(OfCluster):
    ttl: int | None = None


@dataclass(frozen=True)
class Heartbeat(OfCluster):
    pass


@dataclass(frozen=True)
class Exit(OfCluster):
    """One of its containers ends by itself."""

    part: str = "node01"


@dataclass(frozen=True)
class RemoveByHand(OfCluster):
    part: str = "node01"


@dataclass(frozen=True)
class Plant(OfCluster):
    """Something that looks like ours and is not."""

    kind: Literal["container", "volume", "network"] = "container"


@dataclass(frozen=True)
class EngineRestart(Deed):
    pass


@dataclass(frozen=True)
class EngineDown(Deed):
    """The engine does not answer; with `kill`, its containers have ended as well."""

    kill: bool = False


@dataclass(frozen=True)
class EngineUp(Deed):
    pass


@dataclass(frozen=True)
class RepeatEvents(Deed):
    """The last events come once more, late."""


@dataclass(frozen=True)
class BreakEvents(Deed):
    """Every stream of events ends."""


@dataclass(frozen=True)
class Pass(Deed):
    """Time passes."""

    seconds: int = 60


@dataclass(frozen=True)
class Fail(Deed):
    """A call to the outside goes wrong: the `nth` from now on."""

    part: Part = "engine"
    method: str | None = None
    nth: int = 1
    error: str = "EngineUnavailable"
    moment: Moment = Moment.BEFORE


@dataclass(frozen=True)
class Kill(Deed):
    """A process is killed at its `nth` call from now on; another takes its place."""

    process: int = 0
    nth: int = 1
    moment: Moment = Moment.BEFORE


@dataclass(frozen=True)
class SuspendProcess(Deed):
    """A process stops, and with it the renewal of its leases; another takes its place."""

    process: int = 0


@dataclass(frozen=True)
class ResumeProcess(Deed):
    """Stopped processes continue beside the processes that replaced them."""


@dataclass(frozen=True)
class Join(Deed):
    """One more process works beside the others."""


@dataclass(frozen=True)
class Schedule:
    """`room`: for how many vCPUs the host has room; None: for any number."""

    deeds: tuple[Deed, ...] = field(default=())
    room: int | None = None

    def __repr__(self) -> str:
        return f"Schedule(room={self.room}, deeds=(\n" + "".join(f"    {_short(deed)},\n" for deed in self.deeds) + "))"


def _short(deed: Deed) -> str:
    """As it would be written: without what is so by default."""
    said = [f"{f.name}={getattr(deed, f.name)!r}" for f in fields(deed) if getattr(deed, f.name) != f.default]
    return f"{type(deed).__name__}({', '.join(said)})"


_FAULTS: Final[tuple[tuple[Part, str | None, str], ...]] = (
    ("store", None, "DatabaseUnavailable"),
    ("engine", None, "EngineUnavailable"),
    ("engine", "ensure", "EngineRefused"),
    ("engine", "ensure", "PortsExhausted"),
    ("engine", "remove", "EngineRefused"),
    ("engine", "list_containers", "EngineRefused"),
    ("engine", "endpoints", "EngineRefused"),
    ("ssh", "wait", "SshTimeout"),
    ("ssh", "run", "SshTimeout"),
    ("kube", "run_pod", "NotUsable"),
    ("kube", "wait_nodes_ready", "NodeNotReady"),
)
ONLY_BEFORE: Final = frozenset({"PortsExhausted", "SshTimeout", "NotUsable", "NodeNotReady"})

AFTER = st.one_of(st.integers(0, 8), st.integers(0, 60))
WHICH = st.integers(0, 2)
_parts = st.sampled_from(PARTS)
MOMENTS = st.sampled_from(list(Moment))
NTH = st.one_of(st.integers(1, 6), st.integers(1, 40))


@st.composite
def _fails(draw: st.DrawFn) -> Fail:
    part, method, error = draw(st.sampled_from(_FAULTS))
    moment = Moment.BEFORE if error in ONLY_BEFORE else draw(MOMENTS)
    return Fail(draw(AFTER), part, method, draw(NTH), error, moment)


creates = st.builds(
    Create,
    AFTER,
    nodes=st.integers(1, 2),
    kubernetes=st.sampled_from([False] * 9 + [True]),
    conformance=st.booleans(),
    restart=st.sampled_from(["always", "always", "always", "never"]),
    ttl=st.sampled_from([None, None, 20, 300]),
    heartbeat=st.sampled_from([None, None, None, 120]),
    hold=st.sampled_from([None, None, None, 200]),
    owner=st.sampled_from(["ann", "bob"]),
)
plain_creates = st.builds(Create, AFTER, nodes=st.integers(1, 2), owner=st.sampled_from(["ann", "bob"]))

REQUESTS: Final = (
    creates,
    st.builds(Delete, AFTER, WHICH),
    st.builds(Delete, AFTER, WHICH),
    st.builds(Hold, AFTER, WHICH, st.sampled_from([50, 1000]), st.sampled_from(["running", "stopped"])),
    st.builds(Unhold, AFTER, WHICH),
    st.builds(Extend, AFTER, WHICH, st.sampled_from([None, 10, 60, 1000])),
    st.builds(Heartbeat, AFTER, WHICH),
    st.builds(Pass, AFTER, st.sampled_from([1, 40, 130, 320])),
)
HARM: Final = (
    st.builds(Exit, AFTER, WHICH, _parts),
    st.builds(RemoveByHand, AFTER, WHICH, _parts),
    st.builds(EngineRestart, AFTER),
    st.builds(EngineDown, AFTER, st.booleans()),
    st.builds(EngineUp, AFTER),
    st.builds(RepeatEvents, AFTER),
    st.builds(BreakEvents, AFTER),
    st.builds(Plant, AFTER, WHICH, st.sampled_from(["container", "volume", "network"])),
    _fails(),
    _fails(),
)
DEATHS: Final = (
    st.builds(Kill, AFTER, st.integers(0, 2), NTH, MOMENTS),
    st.builds(Kill, AFTER, st.integers(0, 2), NTH, MOMENTS),
    st.builds(SuspendProcess, AFTER, st.integers(0, 2)),
    st.builds(ResumeProcess, AFTER),
    st.builds(Join, AFTER),
)


def schedules(
    *deeds: st.SearchStrategy[Deed], most: int, first: st.SearchStrategy[Deed]
) -> st.SearchStrategy[Schedule]:
    """Up to `most` deeds after the first, which makes something."""
    later = st.lists(st.one_of(*deeds), min_size=1, max_size=most)
    room = st.sampled_from([None, None, None, 2, 4])
    return st.builds(lambda one, rest, room: Schedule((one, *rest), room), first, later, room)
