"""Templates: created, found, counted and retired. Not here: what workers report (clusters/template_builds.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, and_, delete, exists, func, insert, not_, select, update
from sqlalchemy.exc import IntegrityError

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.domain.template import Template, TemplatePhase
from dayfly.errors import Internal, NotFound
from dayfly.store.clusters.create import insert_cluster, own_cluster
from dayfly.store.clusters.template_builds import remove_builders
from dayfly.store.db import ids as names
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import template_from
from dayfly.store.db.tables import clusters, template_secrets, templates
from dayfly.store.notify.commit_notifier import QUEUE

_ATTEMPTS: Final = 5
"""Attempts of a write that conflicts with concurrent writes."""
_UNFINISHED: Final = (TemplatePhase.BUILDING, TemplatePhase.VERIFYING)


class TemplateQueries(StorePart):
    """Templates: create, read, retire."""

    @uncancellable
    async def create(self, spec: ClusterSpec, owner: str, key: str) -> tuple[Template, bool]:
        """Queue a template of `spec` with the cluster that builds it: (template, whether it is new).

        Where one of `key` (domain/template.template_key) is ready or being built, that one.
        """
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.write() as transaction:
                    serving = _templates().where(tables.SERVING, templates.c.key == key)
                    row = (await transaction.connection.execute(serving)).one_or_none()
                    if row is not None:
                        return template_from(row), False
                    return await _insert(transaction, spec, owner, key), True
            except IntegrityError:
                continue  # another transaction committed the same key: the next attempt finds it
        raise Internal(f"the template was not recorded: its key or id was taken in each of {_ATTEMPTS} attempts")

    @uncancellable
    async def get(self, template_id: str) -> Template:
        """A retired one, too, while it is on record. Raises NotFound."""
        async with self._database.read() as connection:
            row = (await connection.execute(_templates().where(templates.c.id == template_id))).one_or_none()
        if row is None:
            raise NotFound(f"no template {template_id}")
        return template_from(row)

    @uncancellable
    async def list(self, *, owner: str | None = None, retired: bool = False) -> tuple[Template, ...]:
        """Those of `owner` (None: of all), newest first; retired ones only with `retired`."""
        query = _templates().order_by(templates.c.created_at.desc(), templates.c.id.desc())
        if not retired:
            query = query.where(tables.RECORDED)
        if owner is not None:
            query = query.where(templates.c.owner == owner)
        async with self._database.read() as connection:
            return tuple(map(template_from, await connection.execute(query)))

    @uncancellable
    async def find(self, key: str, owner: str) -> Template | None:
        """The ready template of `key`, if there is one."""
        ready = (tables.SERVING, templates.c.key == key, templates.c.phase == TemplatePhase.READY)
        async with self._database.read() as connection:
            row = (await connection.execute(_templates().where(*ready, templates.c.owner == owner))).one_or_none()
        return None if row is None else template_from(row)

    @uncancellable
    async def secrets(self, template_id: str) -> ClusterSecrets | None:
        """The secrets of the cluster that it was made from; None before it is saved, and once it is retired."""
        query = select(template_secrets.c.content).where(template_secrets.c.template_id == template_id)
        async with self._database.read() as connection:
            content = (await connection.execute(query)).scalar_one_or_none()
        return None if content is None else ClusterSecrets.model_validate(content)

    @uncancellable
    async def known(self) -> Mapping[str, TemplatePhase]:
        """All on record, retired ones included."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(templates.c.id, templates.c.phase))).all()
        return {row.id: TemplatePhase(row.phase) for row in rows}

    @uncancellable
    async def fork_ended(self, template_id: str, *, ok: bool) -> None:
        """Count a fork that failed before it was ready; with `ok`, reset the count of failures in a row."""
        failures = 0 if ok else templates.c.failures + 1
        async with self._database.write() as transaction:
            counted = update(templates).where(templates.c.id == template_id).values(failures=failures)
            await transaction.connection.execute(counted)

    @uncancellable
    async def retire(self, template_id: str) -> Template:
        """Let it serve no new forks, and remove its builders. May be repeated. Raises NotFound."""
        for _ in range(_ATTEMPTS):
            template = await self.get(template_id)
            if template.phase in {TemplatePhase.RETIRING, TemplatePhase.RETIRED}:
                return template
            async with self._database.write() as transaction:
                same = and_(templates.c.id == template_id, templates.c.phase == template.phase)
                if template.phase in _UNFINISHED:
                    await remove_builders(transaction, template_id)
                retired = update(templates).where(same).values(phase=TemplatePhase.RETIRING)
                if (await transaction.connection.execute(retired)).rowcount:
                    transaction.wake(QUEUE)
                    row = await transaction.connection.execute(_templates().where(templates.c.id == template_id))
                    return template_from(row.one())
                # The phase changed meanwhile: another cluster may build or verify the template now.
        raise Internal(f"template {template_id} was not retired: its phase changed in each of {_ATTEMPTS} attempts")

    @uncancellable
    async def renew(self, template_id: str, spec: ClusterSpec, key: str) -> Template | None:
        """Retire a ready template and queue one of `spec` and `key` in its place, in one transaction: the new one.

        None where one of `key` exists, or the old one was retired before.
        """
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.write() as transaction:
                    ready = and_(templates.c.id == template_id, templates.c.phase == TemplatePhase.READY)
                    retired = update(templates).where(ready).values(phase=TemplatePhase.RETIRING)
                    owner = (await transaction.connection.execute(retired.returning(templates.c.owner))).scalar()
                    if owner is None:
                        return None
                    transaction.wake(QUEUE)
                    serving = _templates().where(tables.SERVING, templates.c.key == key)
                    if (await transaction.connection.execute(serving)).first() is not None:
                        return None
                    return await _insert(transaction, spec, owner, key)
            except IntegrityError:
                continue  # another transaction committed the same key: the next attempt finds it
        raise Internal(f"the template was not recorded: its key or id was taken in each of {_ATTEMPTS} attempts")

    @uncancellable
    async def close(self) -> tuple[str, ...]:
        """Complete the retirement of templates whose last cluster is deleted; their ids."""
        alive = exists().where(clusters.c.template_id == templates.c.id, tables.OF_TEMPLATES).correlate(templates)
        over = and_(templates.c.phase == TemplatePhase.RETIRING, not_(alive))
        async with self._database.read() as connection:
            if not (await connection.execute(select(templates.c.id).where(over).limit(1))).first():
                return ()
        async with self._database.write() as transaction:
            values = {"phase": TemplatePhase.RETIRED, "gone_at": transaction.now}
            closing = update(templates).where(over).values(values).returning(templates.c.id)
            ids = tuple(sorted((await transaction.connection.execute(closing)).scalars()))
            await transaction.connection.execute(
                delete(template_secrets).where(template_secrets.c.template_id.in_(ids))
            )
            if ids:
                transaction.wake(QUEUE)  # disk became free
            return ids


def _templates() -> Select[Any]:
    """Rows for db/mapping.template_from."""
    forks = (
        select(func.count())
        .where(clusters.c.template_id == templates.c.id, tables.OF_TEMPLATES, clusters.c.purpose != Purpose.TEMPLATE)
        .correlate(templates)
        .scalar_subquery()
    )
    return select(templates, forks.label("forks"))


async def _insert(transaction: Transaction, spec: ClusterSpec, owner: str, key: str) -> Template:
    """Raises IntegrityError where another transaction took the key first."""
    template_id, now = names.new_id(), transaction.now
    builder = own_cluster(spec, now, owner=owner, purpose=Purpose.TEMPLATE, template_id=template_id)
    template = Template(template_id, key, owner, builder.spec, TemplatePhase.BUILDING, builder.id, now)
    row = {
        "id": template.id,
        "key": key,
        "owner": owner,
        "spec": builder.spec.model_dump(mode="json"),
        "phase": template.phase,
        "builder": builder.id,
        "created_at": now,
    }
    await transaction.connection.execute(insert(templates).values(row))
    await insert_cluster(transaction, builder)
    return template
