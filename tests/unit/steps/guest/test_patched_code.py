"""Which guests keep their kernel's switches on."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.steps.guest.patched_code import files_against_patching
from tests.support.specs import make_spec

VERSION_1 = ("quiet", "systemd.unified_cgroup_hierarchy=0")


@pytest.mark.parametrize(
    ("accelerator", "arguments", "there"),
    [("tcg", VERSION_1, True), ("kvm", VERSION_1, False), ("tcg", ("quiet",), False)],
)
def test_emulated_guests_with_control_groups_of_version_1(
    accelerator: Accelerator, arguments: tuple[str, ...], there: bool
) -> None:
    manifest = make_spec().manifest.model_copy(update={"kernel_arguments": arguments})
    found = [file.path for file in files_against_patching(manifest, accelerator)]
    assert found == (["/etc/tmpfiles.d/dayfly-patched-code.conf"] if there else [])
