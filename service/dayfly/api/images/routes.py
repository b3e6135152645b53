"""/v1/images: the catalog of node images. Not here: bakes; how references are resolved (image_catalog.py)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.idempotency import REPLAYED, KeyHeader, key_of
from dayfly.api.images.presenter import read_catalog, show_name
from dayfly.api.principals import Caller
from dayfly.domain.image_catalog import EngineImage, latest_reference
from dayfly.domain.security.principal import Principal
from dayfly.errors import Conflict, DayflyError, NotFound
from dayfly.schemas.base import RequestModel
from dayfly.schemas.images import ImageList, ImageName, PromoteRequest, RetireRequest, RollbackRequest
from dayfly.store import CarriedOut, IdempotencyKey
from dayfly.vocabulary import IMAGE_NAME

router: Final = APIRouter(prefix="/v1/images", tags=["images"])

WINDOW_SECONDS: Final = 7 * 24 * 3600


def _name(image: Annotated[str, Path(description="A name of node images: `k8s-debian`.")]) -> str:
    if not IMAGE_NAME.fullmatch(image):
        raise NotFound("no node image has this name: it is not a valid name")
    return image


TheName = Annotated[str, Depends(_name)]
Window = Annotated[
    int, Query(ge=60, le=366 * 24 * 3600, description="The outcomes are those of clusters created in these seconds.")
]
Collected = Annotated[bool, Query(description="Collected images, too, of which only the record is left.")]


@router.get("", operation_id="listImages")
async def list_images(
    services: Services, collected: Collected = False, window_seconds: Window = WINDOW_SECONDS
) -> ImageList:
    """Node images on the engine, by name, the newest of a name first. An image with two names is listed twice."""
    catalog = await read_catalog(services, window_seconds)
    return ImageList(images=tuple(catalog.images(collected=collected)))


@router.get("/{image}", operation_id="getImage")
async def get_image(
    services: Services, image: TheName, collected: Collected = False, window_seconds: Window = WINDOW_SECONDS
) -> ImageName:
    """One name: the image that it stands for, its images and its history."""
    return await _show(image, services, collected=collected, window_seconds=window_seconds)


@router.post("/{image}/promote", operation_id="promoteImage")
async def promote_image(
    request: Request,
    wanted: PromoteRequest,
    response: Response,
    services: Services,
    image: TheName,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> ImageName:
    """Let the name stand for an image: clusters that are created by the name from now on are made of it.

    Later bakes and pulls move the tag `latest`, but no longer the name. Existing clusters stay as they are; templates
    and pools that were created by the name follow, those that were created by a digest do not. A retired image is in
    use again.
    """
    key = _key(idempotency_key, wanted, caller, "promote", image)
    try:
        await services.store.idempotency_keys.require_new(key)
        found = await services.lookups.bounded(services.find_image(image, wanted.image))
        await require_caller(request)
        await services.lookups.bounded(services.keep_image(image, found))
        try:
            await services.store.images.promote(image, found, key)
        except DayflyError:
            await services.lookups.known(services.release_image(image, found))
            raise
    except CarriedOut:
        response.headers[REPLAYED] = "true"
    return await _show(image, services)


@router.post("/{image}/rollback", operation_id="rollbackImage")
async def rollback_image(
    request: Request,
    wanted: RollbackRequest,
    response: Response,
    services: Services,
    image: TheName,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> ImageName:
    """Let the name stand for the image that was promoted before the present one, and is on the engine and not retired.

    Each request goes one promotion back: repeat one with its idempotency key only.
    """
    key = _key(idempotency_key, wanted, caller, "rollback", image)
    try:
        await services.store.idempotency_keys.require_new(key)
        present = await services.lookups.bounded(services.present_images())
        await require_caller(request)
        await services.store.images.rollback(image, {one.id for one in present}, key)
    except CarriedOut:
        response.headers[REPLAYED] = "true"
    return await _show(image, services)


@router.post("/{image}/retire", operation_id="retireImage")
async def retire_image(
    request: Request,
    wanted: RetireRequest,
    response: Response,
    services: Services,
    image: TheName,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> ImageName:
    """Let no new cluster use an image, by whatever reference. Its clusters go on.

    It is removed from the engine when nothing has used it for a configured time. 409 while a name stands for it.
    """
    key = _key(idempotency_key, wanted, caller, "retire", image)
    try:
        await services.store.idempotency_keys.require_new(key)
        found = await services.lookups.bounded(services.find_image(image, wanted.image))
        await _require_named(found, image, services)
        await require_caller(request)
        latest_of = {name for name in found.names if latest_reference(name) in found.references}
        await services.store.images.retire(image, found, latest_of, key)
    except CarriedOut:
        response.headers[REPLAYED] = "true"
    return await _show(image, services)


async def _require_named(found: EngineImage, name: str, services: ApiServices) -> None:
    """Raises Conflict for an image of another name, or of no name that this installation gave."""
    if name in found.names or found.id in {one.image_id for one in await services.store.images.changes(name)}:
        return
    named = f"its names are {', '.join(sorted(found.names))}" if found.names else "this installation gave it no name"
    raise Conflict(f"image {found.id} is no image of {name}: {named}")


async def _show(
    name: str, services: ApiServices, *, collected: bool = False, window_seconds: int = WINDOW_SECONDS
) -> ImageName:
    """Raises NotFound."""
    catalog = await read_catalog(services, window_seconds)
    if name not in catalog.names():
        known = ", ".join(sorted(catalog.names())) or "none"
        raise NotFound(f"no node image is named {name}; names: {known}")
    return show_name(catalog, name, collected=collected)


def _key(header: str | None, wanted: RequestModel, caller: Principal, what: str, name: str) -> IdempotencyKey | None:
    """The key of a request about a name: of another name or with another verb it is another request."""
    key = key_of(header, wanted, caller)
    if key is None:
        return None
    return replace(key, fingerprint=hashlib.sha256(f"{what} {name} {key.fingerprint}".encode()).hexdigest())
