# Generated from async_client.py by `python -m tests.support.unasync`: do not edit.
"""The synchronous client: templates, pools, add-ons, images and the service itself.

Not here: clusters (sync_clusters.py), bakes (sync_bakes.py), teams and tokens (sync_access.py), usage and audit
(sync_accounting.py).
"""

from __future__ import annotations

from typing import Final, Unpack

from dayfly.client.options import PoolChanges, PoolOptions, ShapeOptions, given, shape_body
from dayfly.client.sync_access import Access
from dayfly.client.sync_accounting import Accounting
from dayfly.client.sync_bakes import Bakes
from dayfly.client.sync_quotas import Quotas
from dayfly.client.sync_waits import Waits
from dayfly.client.sync_webhooks import Webhooks
from dayfly.client.transport import path_of
from dayfly.schemas.addons import Addon, AddonList
from dayfly.schemas.images import ImageList, ImageName, NodeImage
from dayfly.schemas.login import LoginOptions
from dayfly.schemas.pools import Pool, PoolList
from dayfly.schemas.status import Status
from dayfly.schemas.system import Orphan, OrphanList, Version
from dayfly.schemas.templates import Template, TemplateList

_REMOVAL_SECONDS: Final = 600.0
"""The engine removes one orphan after the other."""


class Client(Waits, Bakes, Access, Accounting, Quotas, Webhooks):
    """Dayfly's API. Every method raises ApiError and Unreachable.

    `url` and `token` default to DAYFLY_URL and DAYFLY_TOKEN, then http://127.0.0.1:8700 and the token that `dayfly
    login` stored for the server; `unix:///path` is a server's socket. `token_over_http` (DAYFLY_TOKEN_OVER_HTTP=allow)
    allows a token to be sent to another host without TLS. An https:// server is verified by the authorities of
    `ca_file` (DAYFLY_CA_FILE), or by the one with the SHA-256 `ca_fingerprint` (DAYFLY_CA_FINGERPRINT), else by that
    which `dayfly login` stored, else by the machine's. `cluster` is always an id or a name. A repeated request with
    the same `idempotency_key` (default: a new one) is carried out once; a request that failed for a moment is repeated
    by the client itself. `transport` is for tests.
    """

    def create_template(self, *, idempotency_key: str | None = None, **options: Unpack[ShapeOptions]) -> Template:
        """Request a template of such clusters, which will be forks of it; where there is one, that one."""
        return self._read(Template, "POST", "/v1/templates", json=shape_body(options), key=idempotency_key)

    def templates(self, *, owner: str | None = None, retired: bool = False) -> tuple[Template, ...]:
        """Templates of `owner` (None: of all), newest first; retired ones only with `retired`."""
        query = {"owner": owner, "retired": retired}
        return (self._read(TemplateList, "GET", "/v1/templates", query=query)).templates

    def template(self, template_id: str) -> Template:
        """One template."""
        return self._read(Template, "GET", path_of("templates", template_id), of=template_id)

    def delete_template(self, template_id: str) -> Template:
        """Retire it: it serves no new forks, and its forks stay."""
        return self._read(Template, "DELETE", path_of("templates", template_id), of=template_id)

    def create_pool(self, name: str, *, idempotency_key: str | None = None, **options: Unpack[PoolOptions]) -> Pool:
        """Keep `size` such clusters waiting: a create() of the same shape and owner takes one at once, ready."""
        body = shape_body({"name": name, **options})
        return self._read(Pool, "POST", "/v1/pools", json=body, key=idempotency_key, of=name)

    def pools(self) -> tuple[Pool, ...]:
        """All pools, by name."""
        return (self._read(PoolList, "GET", "/v1/pools")).pools

    def pool(self, name: str) -> Pool:
        """One pool, by its name or id."""
        return self._read(Pool, "GET", path_of("pools", name), of=name)

    def change_pool(self, name: str, **changes: Unpack[PoolChanges]) -> Pool:
        """Change what is given."""
        return self._read(Pool, "PATCH", path_of("pools", name), json=given(changes), of=name)

    def delete_pool(self, name: str) -> Pool:
        """Delete the pool and its members that wait; clusters that were taken from it stay."""
        return self._read(Pool, "DELETE", path_of("pools", name), of=name)

    def addons(self) -> tuple[Addon, ...]:
        """The add-ons that clusters can have, by name."""
        return (self._read(AddonList, "GET", "/v1/addons")).addons

    def images(self, *, collected: bool = False) -> tuple[NodeImage, ...]:
        """The node images, by name, the newest of a name first; collected ones only with `collected`."""
        return (self._read(ImageList, "GET", "/v1/images", query={"collected": collected})).images

    def image(self, name: str, *, collected: bool = False) -> ImageName:
        """What a name of node images stands for, its images and its history."""
        query = {"collected": collected}
        return self._read(ImageName, "GET", path_of("images", name), query=query, of=name)

    def promote_image(self, name: str, image: str | None = None, *, idempotency_key: str | None = None) -> ImageName:
        """Let the name stand for `image`, a digest or a reference; None: the last one that was baked or pulled."""
        path = path_of("images", name, "promote")
        return self._read(ImageName, "POST", path, json={"image": image}, key=idempotency_key, of=name)

    def rollback_image(self, name: str, *, idempotency_key: str | None = None) -> ImageName:
        """Let the name stand for the image that was promoted before."""
        path = path_of("images", name, "rollback")
        return self._read(ImageName, "POST", path, json={}, key=idempotency_key, of=name)

    def retire_image(self, name: str, image: str, *, idempotency_key: str | None = None) -> ImageName:
        """Let no new cluster use `image`, a digest or a reference. Its clusters go on."""
        path = path_of("images", name, "retire")
        return self._read(ImageName, "POST", path, json={"image": image}, key=idempotency_key, of=name)

    def orphans(self) -> tuple[Orphan, ...]:
        """Objects on the engine that no living cluster or template owns."""
        return self._orphans("GET")

    def remove_orphans(self) -> tuple[Orphan, ...]:
        """Remove all orphans; those with an `error` are still there."""
        return self._orphans("DELETE")

    def _orphans(self, method: str) -> tuple[Orphan, ...]:
        found: tuple[Orphan, ...] = ()
        cursor: str | None = None
        while True:
            page = self._read(
                OrphanList, method, "/v1/orphans", query={"cursor": cursor}, hold_seconds=_REMOVAL_SECONDS
            )
            found += page.orphans
            cursor = page.next_cursor
            if cursor is None:
                return found

    def status(self) -> Status:
        """The whole installation at a glance: capacity and use, queue, pools, templates, engine."""
        return self._read(Status, "GET", "/v1/status")

    def login_options(self) -> LoginOptions:
        """How people log in; device_login.py does it. Needs no token."""
        return self._read(LoginOptions, "GET", "/v1/login")

    def version(self) -> Version:
        """The server's release."""
        return self._read(Version, "GET", "/v1/version")
