"""What schemathesis reports and what is as it should be: all else that it reports is a finding.

These are refusals of requests that fit the schema, which the schema cannot rule out, and records of deleted things.
Not here: requests without a token or of a role that may not, and those about something that is not there or not ready:
schemathesis expects their statuses (401, 403, 404, 409).
"""

from __future__ import annotations

import json
import re
from typing import Final

_PRECONDITION_FAILED: Final = 412
_CODES: Final = frozenset(
    {"addon_unavailable", "capacity", "image_missing", "image_retired", "impossible_size", "not_a_node_image"}
)
"""They depend on the installation: its images, its host, its files."""
_INSTALLATION: Final = (
    r"(owner|team): there is no team",
    r"addons: ",
    r"readiness: (an image without Kubernetes|the image .* has no conformance tests|images of the recipe )",
    r"ports\.\d+\.(node: the cluster has no|address: an image without Kubernetes)",
    r"ttl_seconds: (at most|the cluster would have expired)",
    r"hold\.(seconds|until): (at most|this time is in the past)",
    r"url: .* is no public address",
    r"(variables|definition(\.vars)?): ",
    r"cursor: not a cursor",
    # schemathesis 4.32 sends `0` among the values of this header, which does not fit the pattern in its schema.
    r"if-match: String should match pattern",
)
"""Beginnings of details of `invalid_request`."""
_NOT_EXPRESSIBLE: Final = (
    r"a period ends after it begins",
    r"two ports have the name",
    r"a definition has at most \d+ levels",
    r"label: two values for",
    r"what is in brackets is no IP address",
)
"""Parts of details: JSON Schema compares no two values with each other, counts no levels, and reads no IP address."""


_RECORDS: Final = re.compile(r"DELETE /v1/(bakes|clusters|pools|templates|tokens)/")
"""A GET shows what these deletions ended, with its end: they take time, or leave a record."""


def stays_on_record(deletion: str) -> bool:
    """Whether what a request deleted, such as `DELETE /v1/tokens/0123456789ab`, may be shown after that."""
    return _RECORDS.match(deletion) is not None


def is_refused_for_a_reason(status: int, body: bytes) -> bool:
    """Whether a request that fits the schema may get this response, which is no success."""
    if status == _PRECONDITION_FAILED:
        return True
    if status != 422:
        return False
    problem = json.loads(body)
    code, detail = problem["code"], problem["detail"]
    return (
        code in _CODES
        or any(re.match(beginning, detail) for beginning in _INSTALLATION)
        or any(re.search(part, detail) for part in _NOT_EXPRESSIBLE)
    )
