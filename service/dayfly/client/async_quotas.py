"""Requests of the asynchronous client about quotas."""

from __future__ import annotations

from collections.abc import Mapping

from dayfly.client.async_connection import AsyncConnection
from dayfly.client.transport import path_of
from dayfly.schemas.quotas import DefaultQuota, Quota


class AsyncQuotas(AsyncConnection):
    """What teams may have, and have."""

    async def quota(self, team: str | None = None) -> Quota:
        """The quota of `team`; None: of the caller's team."""
        path = "/v1/quota" if team is None else path_of("quotas", team)
        return await self._read(Quota, "GET", path)

    async def default_quota(self) -> DefaultQuota:
        """What teams may have that have no quota of their own."""
        return await self._read(DefaultQuota, "GET", "/v1/quotas")

    async def set_quota(self, team: str, limits: Mapping[str, float | str | None]) -> Quota:
        """Replace the quota of `team`. A limit that is None is none; what is left out is the default's."""
        return await self._read(Quota, "PUT", path_of("quotas", team), json=dict(limits))

    async def set_default_quota(self, limits: Mapping[str, float | str | None]) -> DefaultQuota:
        """Replace the installation's default."""
        return await self._read(DefaultQuota, "PUT", "/v1/quotas", json=dict(limits))
