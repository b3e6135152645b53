"""Makes a kubeconfig anew from the fields that Dayfly's servers send.

kubectl runs programs that a kubeconfig names (`exec`, `auth-provider`) and reads files that it names: a hostile server
must not get such a field onto a caller's disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import yaml

from dayfly.client.errors import ApiError

_MAX_CHARACTERS: Final = 256 * 1024
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:-]{0,252}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_HOST: Final = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]*")
_CLUSTER: Final = {"certificate-authority-data": _BASE64, "tls-server-name": _NAME}
_USER: Final = {"client-certificate-data": _BASE64, "client-key-data": _BASE64, "token": _TOKEN}


def rebuilt(response: httpx.Response, of: str) -> str:
    """The kubeconfig in a response: one cluster, user and context, of known fields only.

    Raises ApiError, also where `of` is a name, which starts with a letter, and the kubeconfig is of another cluster.
    """
    try:
        return _rebuild(response.text, None if of[:1].isdigit() else of)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        detail = f"{response.url} did not answer with a kubeconfig of Dayfly: {str(error) or type(error).__name__}"
        raise ApiError("unexpected_answer", response.status_code, detail, {}) from error


def _rebuild(text: str, expected: str | None) -> str:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError("it is too long")
    given = yaml.safe_load(text)
    cluster, user = given["clusters"][0], given["users"][0]
    name, user_name = _checked(cluster["name"], _NAME, "name"), _checked(user["name"], _NAME, "name")
    if expected not in (None, name):
        raise ValueError(f"it is of {name!r}, and {expected!r} was asked for")
    identity = _known(user["user"], _USER)
    if not ({"client-certificate-data", "client-key-data"} <= identity.keys() or "token" in identity):
        raise ValueError("it has neither a client certificate with its key nor a token")
    described = {"server": _server(cluster["cluster"]["server"]), **_known(cluster["cluster"], _CLUSTER)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": described}],
        "users": [{"name": user_name, "user": identity}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user_name}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _known(given: Mapping[str, Any], fields: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    return {name: _checked(given[name], pattern, name) for name, pattern in fields.items() if name in given}


def _checked(value: object, pattern: re.Pattern[str], field: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"its {field} is not valid")
    return value


def _server(value: object) -> str:
    """An https URL of a host and a port, without credentials and path."""
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme != "https" or not _HOST.fullmatch(parts.hostname or ""):
        raise ValueError("its server is not an https URL")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"https://{host}:{parts.port or 443}"
