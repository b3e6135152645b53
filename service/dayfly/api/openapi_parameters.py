"""Parameters in the OpenAPI document: a query, header or path has texts, so none of them is null.

FastAPI says of a parameter that may be left out that it may be null. A caller that sends `null` sends four letters.
"""

from __future__ import annotations

from typing import Any, Final

_NULL: Final = {"type": "null"}


def without_null(document: dict[str, Any]) -> None:
    """Remove null from the schemas of all parameters."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if _NULL not in schema.get("anyOf", ()):
        return schema
    others = [one for one in schema["anyOf"] if one != _NULL]
    own = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**others[0], **own} if len(others) == 1 else {**own, "anyOf": others}
