"""`kubectl drain` ends although a pod ignores SIGTERM. Not here: its duration, which README explains."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.claims import GONE_SECONDS, POD_SECONDS, is_ready, until_gone
from tests.e2e.lab import Lab
from tests.support.guest import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]

NODE: Final = "node02"
GRACE_SECONDS: Final = 10
_FOLDER: Final = "/var/lib/stubborn"
"""On the node: what the pod wrote outlives the pod."""
_POD: Final = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: stubborn, labels: {{app: stubborn}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {NODE}}}
  terminationGracePeriodSeconds: {GRACE_SECONDS}
  containers:
    - name: stubborn
      image: dayfly.local/smoke:1
      command:
        - /bin/sh
        - -c
        - |
          trap 'echo told >> /said/lines' TERM
          while :; do sleep 1; echo lives >> /said/lines; done
      volumeMounts: [{{name: said, mountPath: /said}}]
  volumes: [{{name: said, hostPath: {{path: {_FOLDER}, type: DirectoryOrCreate}}}}]
"""


@pytest.fixture
def stubborn(lab: Lab) -> Iterator[str]:
    """A pod on NODE that ignores SIGTERM. At the end it is gone, and the node takes pods again."""
    try:
        lab.kubectl_with(_POD, "apply", "-f", "-")
        until("the pod runs", lambda: is_ready(lab, "stubborn") or None, seconds=POD_SECONDS, pause=1)
        yield "stubborn"
    finally:
        lab.kubectl("uncordon", NODE)
        lab.kubectl("delete", "pod", "stubborn", "--ignore-not-found", "--wait=false", "--grace-period=0", "--force")
        until_gone(lab, "pod/stubborn")
        until("the node takes pods", lambda: taints(lab) == "" or None, seconds=GONE_SECONDS, pause=1)
        lab.on_node(NODE, f"rm -rf {_FOLDER}")


def test_a_drain_ends_although_a_pod_ignores_sigterm(lab: Lab, stubborn: str) -> None:
    others = pods(lab) - {f"pod/{stubborn}"}
    began = time.monotonic()
    # This pod alone: others would have to be moved, and moved back.
    selected = (f"--pod-selector=app={stubborn}", "--force", f"--timeout={GONE_SECONDS}s")
    lab.kubectl("drain", NODE, *selected, timeout=GONE_SECONDS + 60)
    print(f"drained after {time.monotonic() - began:.0f} s, {GRACE_SECONDS} s of them the pod's to end by itself")
    assert pods(lab) == others
    assert lab.kubectl("get", "node", NODE, "-o", "jsonpath={.spec.unschedulable}") == "true"
    _, told, after = lab.on_node(NODE, f"cat {_FOLDER}/lines").partition("told")
    assert told, "the pod received SIGTERM"
    assert "lives" in after, "and ignored it"
    # The brackets keep pgrep from finding the shell that runs it.
    assert lab.on_node(NODE, "pgrep -f '[s]aid/lines' || true") == "", "its process has ended"


def pods(lab: Lab) -> set[str]:
    return set(lab.kubectl("get", "pods", "-o", "name").split())


def taints(lab: Lab) -> str:
    return lab.kubectl("get", "node", NODE, "-o", "jsonpath={.spec.taints[*].key}")
