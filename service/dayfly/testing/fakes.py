"""The outside world in memory, with the contracts of drivers/interfaces and faults on demand. For tests only.

Each fake counts its calls (`calls["ensure"]`), fails when told (`fail_next`), and stops where told (`block`).
They live beside it: fake_engine.py, fake_machines.py, fake_ssh.py, fake_kubernetes.py, fake_images.py,
fake_host_pressure.py.
"""

from __future__ import annotations

from dayfly.testing.fake_engine import FakeContainer, FakeEngine
from dayfly.testing.fake_faults import Faults, Gate
from dayfly.testing.fake_host_pressure import FakePressure
from dayfly.testing.fake_images import FakeImages
from dayfly.testing.fake_kubernetes import FakeKube
from dayfly.testing.fake_machines import FakeMachines
from dayfly.testing.fake_ssh import FakeSsh

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
