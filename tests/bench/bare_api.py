"""GET, list and POST of clusters as bare routes of FastAPI: the floor that the service is compared with.

They execute what the service executes for the same requests, written by hand, and answer with the same schemas. They
have no authentication, checks, audit of refusals, metrics or middleware. Run by process.py, with the role `bare`.

Not here: the comparison (authentication.py).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI, Header
from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.schemas.cluster_requests import ClusterRequest
from dayfly.schemas.clusters import Cluster, ClusterList, ClusterSummary
from dayfly.settings import Settings
from dayfly.store.db.accounting_tables import audit
from dayfly.store.db.quota_tables import quotas
from dayfly.store.db.tables import LIVING, clusters, idempotency_keys, labels, steps
from tests.support.specs import make_spec

TEAM = "red"
_SPEC = make_spec(readiness="booted").model_dump(mode="json")
_GET = select(clusters).where(clusters.c.id == bindparam("cluster"), clusters.c.owner == TEAM)
_STEPS = select(steps).where(steps.c.cluster_id == bindparam("cluster")).order_by(steps.c.id)
_NEWEST = (clusters.c.created_at.desc(), clusters.c.id.desc())
_IDS = (
    select(clusters.c.id)
    .where(LIVING, clusters.c.phase == Phase.READY, clusters.c.purpose == Purpose.CLUSTER, clusters.c.owner == TEAM)
    .order_by(*_NEWEST)
    .limit(bindparam("most"))
)
_LIST = select(clusters).where(clusters.c.id.in_(_IDS)).order_by(*_NEWEST)
_NOW = select(func.clock_timestamp())
_LOCK = select(func.pg_advisory_xact_lock(bindparam("number")))
_KEY = select(idempotency_keys).where(idempotency_keys.c.key == bindparam("key"))
_QUOTA = select(quotas).where(quotas.c.owner.in_([TEAM, "*"]))
_NEW = insert(clusters).returning(clusters)
_NOTIFY = select(func.pg_notify("bare", bindparam("text")))


def serve(settings: Settings) -> None:
    config = uvicorn.Config(
        bare_api(settings.database), port=settings.listen_port, lifespan="off", log_config=None, access_log=False
    )
    uvicorn.Server(config).run()


def bare_api(database_url: str) -> FastAPI:
    app = FastAPI()
    engine = create_async_engine(database_url, pool_size=10)
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @app.get("/healthz")
    async def get_health() -> None:
        """For the start."""

    @app.get("/v1/clusters/{cluster}", response_model=Cluster)
    async def get_cluster(cluster: str) -> Any:
        async with reading.connect() as connection:
            row = (await connection.execute(_GET, {"cluster": cluster})).mappings().one()
            done = (await connection.execute(_STEPS, {"cluster": cluster})).mappings().all()
        return {**_shown(row), "steps": done}

    @app.get("/v1/clusters", response_model=ClusterList)
    async def list_clusters(limit: int) -> Any:
        async with reading.connect() as connection:
            rows = (await connection.execute(_LIST, {"most": limit + 1})).mappings().all()
        last = rows[limit - 1] if len(rows) > limit else None
        cursor = None if last is None else f"{last['created_at']} {last['id']}"
        return {"clusters": [_shown(row) for row in rows[:limit]], "next_cursor": cursor}

    @app.post("/v1/clusters", status_code=202, response_model=Cluster)
    async def create_cluster(wanted: ClusterRequest, idempotency_key: str = Header()) -> Any:
        made, name = secrets.token_hex(6), f"bare-{secrets.token_hex(6)}"
        async with reading.connect() as connection:
            (await connection.execute(_KEY, {"key": idempotency_key})).first()
        async with engine.begin() as connection:
            now = (await connection.execute(_NOW)).scalar_one()
            await connection.execute(_LOCK, {"number": hash(idempotency_key)})
            (await connection.execute(_KEY, {"key": idempotency_key})).first()
            (await connection.execute(_QUOTA)).all()
            row = (await connection.execute(_NEW, _new(made, name, wanted, now))).mappings().one()
            pairs = [{"cluster_id": made, "key": key, "value": value} for key, value in wanted.labels.items()]
            await connection.execute(insert(labels), pairs)
            used = {"key": idempotency_key, "fingerprint": json.dumps(wanted.labels), "cluster_id": made}
            await connection.execute(insert(idempotency_keys), {**used, "created_at": now})
            await connection.execute(insert(audit), {"at": now, "principal": "bare", "address": "", "request_id": made})
            await connection.execute(_NOTIFY, {"text": made})
        async with reading.connect() as connection:
            done = (await connection.execute(_STEPS, {"cluster": made})).mappings().all()
        return {**_shown(row), "steps": done}

    return app


def _new(made: str, name: str, wanted: ClusterRequest, now: object) -> Mapping[str, object]:
    spec = {**_SPEC, "labels": wanted.labels, "ttl_seconds": wanted.ttl_seconds}
    fixed = {"desired": "present", "phase": "pending", "generation": 1, "endpoints": {}, "owner": TEAM}
    return {"id": made, "name": name, "spec": spec, "created_at": now, "updated_at": now, "due_at": now, **fixed}


def _shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a response: those of a column or of the specification that have its name, and the others."""
    spec: dict[str, Any] = row["spec"]
    fields = {name: row[name] if name in row else spec.get(name) for name in ClusterSummary.model_fields}
    return fields | {
        "image_digest": spec["manifest"]["digest"],
        "workers": {**spec["worker"], "count": spec["workers"]},
        "template": row["template_id"],
        "not_forked_because": row["not_forked"],
        "pool": row["pool_id"],
        "expires_because": "ttl" if row["expires_at"] else None,
        "endpoints": {},
        "addons": row["addons"] or (),
        "hold": None,
        "error": None,
    }
