"""Pods that an API server refuses. Not here: pods that run (tests/integration)."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import Response

from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.errors import NotUsable
from tests.support.kube_server import running_kube_server


async def test_a_refusal_is_one_bounded_line(tmp_path: Path) -> None:
    async with running_kube_server(tmp_path) as (server, access):
        server.refusals = [(422, "no\n\x1b[2J" + "x" * 100_000)]
        with pytest.raises(NotUsable) as refused:
            await KubeClient().run_pod(access, "smoke", image="x:1", argv=["true"], timeout=20)
    assert refused.value.message.startswith("pod smoke was refused: no \N{REPLACEMENT CHARACTER}[2Jxxx")
    assert len(refused.value.message) < 1100


@pytest.mark.parametrize(
    ("body", "why", "timeout"),
    [(b'["no"]', 'pod smoke was refused: \\["no"\\]', 20), (b"[" * 200_000, "did not end within 0.5 s", 0.5)],
)
async def test_a_refusal_of_another_shape_is_no_defect(tmp_path: Path, body: bytes, why: str, timeout: float) -> None:
    async with running_kube_server(tmp_path) as (server, access):
        server.refusals = [(422, "")] * 20
        server.raw_refusal = Response(body, 422)
        with pytest.raises(NotUsable, match=why):
            await KubeClient().run_pod(access, "smoke", image="x:1", argv=["true"], timeout=timeout)
