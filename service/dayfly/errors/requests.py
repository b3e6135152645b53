"""Errors of requests: invalid, no such object, not possible in the present state, or too many."""

from __future__ import annotations

from dayfly.errors.base import DayflyError


class InvalidRequest(DayflyError):
    """The request is invalid."""

    code = "invalid_request"


class BadName(InvalidRequest):
    """The name is not valid."""

    code = "bad_name"


class ImageMissing(InvalidRequest):
    """No such image on this engine."""

    code = "image_missing"


class NotANodeImage(InvalidRequest):
    """The image is not a node image of this Dayfly."""

    code = "not_a_node_image"


class ImpossibleSize(InvalidRequest):
    """The size is more, or less, than the image or the plan allows."""

    code = "impossible_size"


class Capacity(InvalidRequest):
    """The cluster is larger than the whole host."""

    code = "capacity"


class TooManyNodes(InvalidRequest):
    """The cluster has more nodes than addresses."""

    code = "too_many_nodes"


class NotFound(DayflyError):
    """No such cluster, node, image or route."""

    code = "not_found"


class NoKubernetes(NotFound):
    """The cluster has no Kubernetes."""

    code = "no_kubernetes"


class Conflict(DayflyError):
    """Not possible in the present state."""

    code = "conflict"


class IdempotencyKeyReused(Conflict):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"


class NameTaken(Conflict):
    """A cluster that is not deleted, or a pool, has the name."""

    code = "name_taken"


class NotReady(Conflict):
    """The cluster is not ready."""

    code = "not_ready"


class TooManyWaits(DayflyError):
    """Too many requests wait on this server."""

    code = "too_many_waits"
