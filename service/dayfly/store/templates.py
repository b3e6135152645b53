"""Templates: created, found, counted and retired. Not here: what workers report (clusters/template_builds.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import and_, bindparam, delete, exists, func, insert, not_, select, update
from sqlalchemy.exc import IntegrityError

from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.security.principal import EVERYWHERE, Scope
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.domain.template import Template
from dayfly.errors import Internal, NotFound
from dayfly.store import quota_checks
from dayfly.store.clusters.create import insert_cluster, own_cluster
from dayfly.store.clusters.template_builds import remove_builders
from dayfly.store.commands import IdempotencyKey
from dayfly.store.db import ids as names
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import template_from
from dayfly.store.db.secret_columns import OF_TEMPLATES
from dayfly.store.db.shared_queries import in_scope
from dayfly.store.db.tables import clusters, template_secrets, templates
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.store.quota_checks import saved_wants
from dayfly.vocabulary import TemplatePhase

_ATTEMPTS: Final = 5
"""Attempts of a write that conflicts with concurrent writes."""
_UNFINISHED: Final = (TemplatePhase.BUILDING, TemplatePhase.VERIFYING)

_FORKS: Final = (
    select(func.count())
    .where(clusters.c.template_id == templates.c.id, tables.OF_TEMPLATES, clusters.c.purpose != Purpose.TEMPLATE)
    .correlate(templates)
    .scalar_subquery()
)
_TEMPLATES: Final = select(templates, _FORKS.label("forks"))
"""Rows for db/mapping.template_from."""
_ALL: Final = _TEMPLATES.order_by(templates.c.created_at.desc(), templates.c.id.desc())
_NOT_RETIRED: Final = _ALL.where(tables.RECORDED)
_READY: Final = _TEMPLATES.where(
    tables.SERVING,
    templates.c.key == bindparam("key"),
    templates.c.phase == TemplatePhase.READY,
    templates.c.owner == bindparam("owner"),
)


class TemplateQueries(StorePart):
    async def create(
        self,
        spec: ClusterSpec,
        owner: str,
        key: str,
        request_key: IdempotencyKey | None = None,
        *,
        limited: bool = True,
    ) -> tuple[Template, bool]:
        """Queue a template of `spec` with the cluster that builds it: (template, whether it is new).

        Where one of `key` (domain/template.template_key) is ready or being built, that one. `limited`: by the quota.
        Raises QuotaExceeded, CarriedOut, IdempotencyKeyReused.
        """
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.write() as transaction:
                    await require_new(transaction, request_key)
                    serving = _TEMPLATES.where(tables.SERVING, templates.c.key == key)
                    row = (await transaction.execute(serving)).one_or_none()
                    if row is None and limited:
                        await quota_checks.require(transaction, owner, saved_wants(spec, templates=1))
                    found = await _insert(transaction, spec, owner, key) if row is None else template_from(row)
                    transaction.concerns("template", found.id)
                    await record_use(transaction, request_key, resource_id=found.id)
                    return found, row is None
            except IntegrityError:
                continue  # another transaction committed the same key: the next attempt finds it
        raise Internal(f"the template was not recorded: its key or id was taken in each of {_ATTEMPTS} attempts")

    async def get(self, template_id: str, scope: Scope = EVERYWHERE) -> Template:
        """A retired one, too, while it is on record. Raises NotFound."""
        visible = in_scope(templates.c.owner, scope)
        if (row := await self._row(_TEMPLATES.where(templates.c.id == template_id, *visible))) is None:
            raise NotFound(f"no template {template_id}")
        return template_from(row)

    async def list(
        self, *, owner: str | None = None, retired: bool = False, scope: Scope = EVERYWHERE
    ) -> tuple[Template, ...]:
        """Those in `scope` and of `owner` (None: of all), newest first; retired ones only with `retired`."""
        query = (_ALL if retired else _NOT_RETIRED).where(*in_scope(templates.c.owner, scope))
        if owner is not None:
            query = query.where(templates.c.owner == owner)
        return tuple(map(template_from, await self._rows(query)))

    async def find(self, key: str, owner: str) -> Template | None:
        """The ready template of `key`, if there is one."""
        row = await self._row(_READY, {"key": key, "owner": owner})
        return None if row is None else template_from(row)

    async def secrets(self, template_id: str) -> ClusterSecrets | None:
        """The secrets of the cluster that it was made from; None before it is saved, and once it is retired.

        Raises SecretsKeyMissing, SecretDamaged.
        """
        query = select(template_secrets.c.content).where(template_secrets.c.template_id == template_id)
        row = await self._row(query)
        if row is None:
            return None
        text = self._database.secret_keys.open(row.content, OF_TEMPLATES.place(template_id))
        return ClusterSecrets.model_validate_json(text)

    async def known(self) -> Mapping[str, TemplatePhase]:
        """All on record, retired ones included."""
        rows = await self._rows(select(templates.c.id, templates.c.phase))
        return {row.id: TemplatePhase(row.phase) for row in rows}

    async def fork_ended(self, template_id: str, *, ok: bool) -> None:
        """Count a fork that failed before it was ready; with `ok`, reset the count of failures in a row."""
        same = templates.c.id == template_id
        if ok and await self._row(select(templates.c.id).where(same, templates.c.failures > 0)) is None:
            return  # as after nearly every fork: no turn to write is needed
        failures = 0 if ok else templates.c.failures + 1
        async with self._database.write() as transaction:
            counted = update(templates).where(same).values(failures=failures)
            await transaction.execute(counted)

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
                if (await transaction.execute(retired)).rowcount:
                    transaction.concerns("template", template_id)
                    transaction.wake(QUEUE)
                    row = await transaction.execute(_TEMPLATES.where(templates.c.id == template_id))
                    return template_from(row.one())
                # The phase changed meanwhile: another cluster may build or verify the template now.
        raise Internal(f"template {template_id} was not retired: its phase changed in each of {_ATTEMPTS} attempts")

    async def renew(self, template_id: str, spec: ClusterSpec, key: str) -> Template | None:
        """Retire a ready template and queue one of `spec` and `key` in its place, in one transaction: the new one.

        None where one of `key` exists, or the old one was retired before.
        """
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.write() as transaction:
                    ready = and_(templates.c.id == template_id, templates.c.phase == TemplatePhase.READY)
                    retired = update(templates).where(ready).values(phase=TemplatePhase.RETIRING)
                    owner = (await transaction.execute(retired.returning(templates.c.owner))).scalar()
                    if owner is None:
                        return None
                    transaction.wake(QUEUE)
                    serving = _TEMPLATES.where(tables.SERVING, templates.c.key == key)
                    if (await transaction.execute(serving)).first() is not None:
                        return None
                    return await _insert(transaction, spec, owner, key)
            except IntegrityError:
                continue  # another transaction committed the same key: the next attempt finds it
        raise Internal(f"the template was not recorded: its key or id was taken in each of {_ATTEMPTS} attempts")

    async def close(self) -> tuple[str, ...]:
        """Complete the retirement of templates whose last cluster is deleted; their ids."""
        alive = exists().where(clusters.c.template_id == templates.c.id, tables.OF_TEMPLATES).correlate(templates)
        over = and_(templates.c.phase == TemplatePhase.RETIRING, not_(alive))
        if await self._row(select(templates.c.id).where(over).limit(1)) is None:
            return ()
        async with self._database.write() as transaction:
            values = {"phase": TemplatePhase.RETIRED, "gone_at": transaction.now}
            closing = update(templates).where(over).values(values).returning(templates.c.id)
            ids = tuple(sorted((await transaction.execute(closing)).scalars()))
            await transaction.execute(delete(template_secrets).where(template_secrets.c.template_id.in_(ids)))
            if ids:
                transaction.wake(QUEUE)  # disk became free
            return ids


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
    await transaction.execute(insert(templates).values(row))
    await insert_cluster(transaction, builder)
    return template
