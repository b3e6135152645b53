"""Deeds on saved state: templates, pools, resets, checkpoints, hibernation; as in schedule.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from tests.scenarios.matrix.schedule import (
    AFTER,
    MOMENTS,
    NTH,
    WHICH,
    Create,
    Deed,
    Delete,
    EngineDown,
    EngineRestart,
    EngineUp,
    Exit,
    Fail,
    Hold,
    OfCluster,
    Pass,
    RemoveByHand,
)


@dataclass(frozen=True)
class MakeTemplate(Deed):
    """A template for clusters of so many nodes."""

    nodes: int = 1
    owner: str = "ann"


@dataclass(frozen=True)
class RetireTemplate(Deed):
    """The n-th template, counted round."""

    template: int = 0


@dataclass(frozen=True)
class SizePool(Deed):
    """Set the size of the owner's only pool, or create the pool."""

    size: int = 1
    owner: str = "ann"


@dataclass(frozen=True)
class Reset(OfCluster):
    """To its pristine state, or to the checkpoint `to`."""

    to: str = ""


@dataclass(frozen=True)
class MakeCheckpoint(OfCluster):
    name: str = "one"


@dataclass(frozen=True)
class DropCheckpoint(OfCluster):
    name: str = "one"


@dataclass(frozen=True)
class Hibernate(OfCluster):
    pass


@dataclass(frozen=True)
class Resume(OfCluster):
    pass


_names = st.sampled_from(["one", "two"])
_owners = st.sampled_from(["ann", "ann", "bob"])

_FAULTS: Final = (
    ("store", None, "DatabaseUnavailable"),
    ("engine", None, "EngineUnavailable"),
    ("engine", "ensure", "EngineRefused"),
    ("machines", "save", "CommandFailed"),
    ("machines", "load", "CommandFailed"),
    ("machines", "resume", "VmExited"),
    ("machines", "pause", "VmExited"),
    ("machines", "set_clock", "SshTimeout"),
    ("machines", "run", "SshTimeout"),
    ("machines", "discard", "CommandFailed"),
    ("machines", None, "EngineUnavailable"),
)


@st.composite
def _fails(draw: st.DrawFn) -> Fail:
    part, method, error = draw(st.sampled_from(_FAULTS))
    return Fail(draw(AFTER), part, method, draw(NTH), error, draw(MOMENTS))  # type: ignore[arg-type]


simple_creates = st.builds(Create, AFTER, nodes=st.integers(1, 2), owner=_owners)
templates = st.builds(MakeTemplate, AFTER, st.integers(1, 2), _owners)

SAVED: Final = (
    simple_creates,
    simple_creates,
    templates,
    st.builds(RetireTemplate, AFTER, WHICH),
    st.builds(SizePool, AFTER, st.integers(0, 2), _owners),
    st.builds(Reset, AFTER, WHICH),
    st.builds(Reset, AFTER, WHICH, st.just("one")),
    st.builds(MakeCheckpoint, AFTER, WHICH, _names),
    st.builds(DropCheckpoint, AFTER, WHICH, _names),
    st.builds(Hibernate, AFTER, WHICH),
    st.builds(Hibernate, AFTER, WHICH),
    st.builds(Resume, AFTER, WHICH),
    st.builds(Delete, AFTER, WHICH),
    st.builds(Hold, AFTER, WHICH, st.just(1000), st.just("hibernated")),
    st.builds(Pass, AFTER, st.sampled_from([1, 40, 130])),
)
SAVED_HARM: Final = (
    st.builds(Exit, AFTER, WHICH, st.sampled_from(["net", "node01", "node02"])),
    st.builds(RemoveByHand, AFTER, WHICH, st.sampled_from(["net", "node01"])),
    st.builds(EngineRestart, AFTER),
    st.builds(EngineDown, AFTER, st.booleans()),
    st.builds(EngineUp, AFTER),
    _fails(),
    _fails(),
)
