"""Parts of JSON schemas that pydantic does not derive: what validators of requests check, said for openapi.json.

A client that follows openapi.json then sends nothing that a validator refuses. tests/unit/schemas/test_json_schemas.py
compares both.
"""

from __future__ import annotations

from typing import Any, Final

from dayfly.schemas.texts import LINE, NOT_BLANK
from dayfly.vocabulary import MAX_DISK_GIB

JsonSchema = dict[str, Any]

_NULL: Final = {"type": "null"}
_BYTE: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HOST: Final = r"(25[0-4]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?)"
_SERVICES: Final = rf"^(192\.168\.67\.{_HOST}|10\.(9[6-9]|10[0-9]|11[01])\.{_BYTE}\.{_BYTE})$"

ON_ONE_LINE: Final[JsonSchema] = {"pattern": f"^{LINE}$"}
ON_ONE_LINE_NOT_BLANK: Final[JsonSchema] = {"pattern": f"^{NOT_BLANK}$"}
DISK: Final[JsonSchema] = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_DISK_GIB}, _NULL]}
SERVICE_ADDRESS: Final[JsonSchema] = {"anyOf": [{"type": "string", "pattern": _SERVICES}, _NULL]}
"""Of LOAD_BALANCERS or SERVICES (domain/cluster/network.py)."""
NODE_OR_ADDRESS: Final[JsonSchema] = {"anyOf": [{"properties": {"node": _NULL}}, {"properties": {"address": _NULL}}]}
UNTIL_OR_SECONDS: Final[JsonSchema] = {
    "oneOf": [
        {"required": ["until"], "properties": {"until": {"type": "string"}}},
        {"required": ["seconds"], "properties": {"seconds": {"type": "integer"}}},
    ]
}
SPECS_BEFORE_READY: Final[JsonSchema] = {
    "anyOf": [
        {"properties": {"conformance": {"maxItems": 0}}},
        {"properties": {"readiness": {"const": "conformance"}}, "required": ["readiness"]},
    ]
}
"""The list `conformance` only with the readiness `conformance`."""
NO_SPECS_BEFORE_READY: Final[JsonSchema] = {
    "not": {"required": ["readiness"], "properties": {"readiness": {"const": "conformance"}}}
}
"""Of templates and pools: conformance specs run on a cluster before its caller gets it."""
RECIPE_OR_DEFINITION: Final[JsonSchema] = {
    "oneOf": [
        {"required": ["recipe"], "properties": {"recipe": {"type": "string"}, "definition": _NULL}},
        {
            "required": ["definition"],
            "properties": {"definition": {"type": "object"}, "recipe": _NULL, "variables": {"maxProperties": 0}},
        },
    ]
}
