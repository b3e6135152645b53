"""The outside world in memory, with the contracts of protocols.py and faults on demand. For tests only.

Each fake counts its calls (`calls["ensure"]`), fails when told (`fail_next`), and stops where told (`block`).
They live beside it: fake_engine.py, fake_machines.py, fake_ssh.py, fake_kube.py, fake_images.py, fake_pressure.py.
"""

from __future__ import annotations

from dayfly.drivers.fake_engine import FakeContainer, FakeEngine
from dayfly.drivers.fake_faults import Faults, Gate
from dayfly.drivers.fake_images import FakeImages
from dayfly.drivers.fake_kube import FakeKube
from dayfly.drivers.fake_machines import FakeMachines
from dayfly.drivers.fake_pressure import FakePressure
from dayfly.drivers.fake_ssh import FakeSsh

__all__ = [
    "FakeContainer",
    "FakeEngine",
    "FakeImages",
    "FakeKube",
    "FakeMachines",
    "FakePressure",
    "FakeSsh",
    "Faults",
    "Gate",
]
