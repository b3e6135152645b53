"""/v1/clusters/{cluster}/diagnostics: everything known about a cluster in one file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Response

from dayfly.api.clusters import diagnostics_bundle
from dayfly.api.clusters.cluster_response import show
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.parameters import TheCluster
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.errors import DayflyError

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["access"])

_COLLECT_SECONDS: Final = 60.0


@router.get(
    "/diagnostics",
    operation_id="getDiagnostics",
    response_class=Response,
    responses={
        200: {
            "description": "A tarball: `cluster.json`, `steps.json`, `events.json` (the last 5000), `evidence/` (of "
            "the failure), and `now/` (present consoles, logs and states; not of a deleted cluster, nor of a pool's "
            "member or a template's builder that has not failed). In both, "
            "`kubernetes/` has what the API server says: nodes, pods, events, descriptions of pods that are not Ready, "
            "and logs of containers that failed. Each text is cut to its last 64 KiB, the whole bundle to 8 MiB before "
            "compression.",
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def get_diagnostics(services: Services, cluster: TheCluster) -> Response:
    """Everything about a cluster in one file, in any phase; of a deleted cluster, as long as its record exists.

    The file has no secrets. A part that cannot be collected is named in the file, and does not fail the request.
    """
    texts = {f"evidence/{name}": text for name, text in (await services.store.clusters.evidence(cluster.id)).items()}
    if _has_present(cluster):
        texts |= {f"now/{name}": text for name, text in (await _collect(cluster, services)).items()}
    shown = await show(cluster, services)
    records = diagnostics_bundle.records(shown, await diagnostics_bundle.last_events(cluster.id, services))
    packed = await asyncio.to_thread(diagnostics_bundle.pack, cluster.name, records, texts, services.clock.now())
    disposition = f'attachment; filename="{cluster.name}-diagnostics.tar.gz"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(packed, media_type="application/gzip", headers=headers)


def _has_present(cluster: Cluster) -> bool:
    """Not of a pool's member, which will be a caller's cluster, nor of a builder, whose memory forks have."""
    if cluster.phase is Phase.DELETED:
        return False
    return cluster.purpose is Purpose.CLUSTER or cluster.phase is Phase.FAILED


async def _collect(cluster: Cluster, services: ApiServices) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_COLLECT_SECONDS):
            return await services.collect_diagnostics(cluster, await services.store.clusters.secrets(cluster.id))
    except DayflyError as error:
        return {"not-collected": f"[{error.code}] {error.message}\n"}
    except TimeoutError:
        return {"not-collected": f"the collection took longer than {_COLLECT_SECONDS:.0f} s\n"}
