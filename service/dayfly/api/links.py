"""Links of the OpenAPI document: from the response to a creation to the operations that take what it made.

They are derived: a response with the header Location made the item of the GET that answers with all its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_IDENTIFIER: Final = {"team": "name"}
"""Path parameter → the field of the response with its value. Default: `id`, and of what has no id `name`."""
_KNOWN: Final = {"node": "node01"}
"""Values of path parameters that every item has: each cluster has its first node."""


def add_links(document: dict[str, Any]) -> None:
    """Add `links` to each response that has the header Location."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for response in operation["responses"].values():
                if "Location" in response.get("headers", {}):
                    response["links"] = _links(path, response, document)


def _links(path: str, response: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Operation id → link. Raises LookupError where no operation gets what the response shows."""
    fields = _fields(response, document)
    item = _item_path(fields, document)
    *outer, own = _PARAMETER.findall(item)
    given = _PARAMETER.findall(path)
    if missing := set(outer) - set(given):
        raise LookupError(f"{path}: no value for {', '.join(sorted(missing))} of {item}")
    source = _IDENTIFIER.get(own, "id" if "id" in fields else "name")
    parameters = {**{name: f"$request.path.{name}" for name in outer}, own: f"$response.body#/{source}"}
    return {
        operation["operationId"]: {"operationId": operation["operationId"], "parameters": parameters | _known(target)}
        for target, methods in document["paths"].items()
        if _takes(target, item)
        for operation in methods.values()
    }


def _takes(target: str, item: str) -> bool:
    """Whether the operations at `target` take the item: they are below it, or another resource has its name."""
    return f"{target}/".startswith(f"{item}/") or (
        target.count("{") == 1 and item.count("{") == 1 and target.endswith(item.rpartition("/")[2])
    )


def _known(target: str) -> dict[str, str]:
    return {name: _KNOWN[name] for name in _PARAMETER.findall(target) if name in _KNOWN}


def _item_path(fields: set[str], document: Mapping[str, Any]) -> str:
    """The path of the GET of one item whose response has only these fields, and the most of them."""
    found: dict[str, int] = {
        path: count
        for path, methods in document["paths"].items()
        if path.endswith("}")
        for shown in _successes(methods.get("get"))
        if (own := _fields(shown, document)) <= fields and (count := len(own))
    }
    if not found:
        raise LookupError(f"no operation gets an item with the fields {', '.join(sorted(fields))}")
    return max(found, key=lambda path: found[path])


def _successes(operation: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if operation is not None:
        yield from (response for status, response in operation["responses"].items() if status < "300")


def _fields(response: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    """The fields of a response in JSON."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return set(document["components"]["schemas"].get(name, {}).get("properties", ()))
