"""Addresses, for the client and the server: loopback, a host with its port as text, URLs of engines and of issuers.

It needs only the standard library, so that the client needs no part of the server.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_ENGINE_SCHEMES: Final = ("tcp", "http", "https", "ssh")


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address; an IPv6 address may have brackets."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def host_and_port(host: str, port: int) -> str:
    """`127.0.0.1:80`, `[::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_engine_url(url: str) -> bool:
    """Whether `url` can be that of a container engine: `unix:///var/run/docker.sock`, `tcp://host:2376`."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
        (parts.hostname or "").encode("idna")  # as DNS is asked; a label may be empty or too long
    except ValueError:
        return False
    if parts.scheme == "unix":
        return not parts.netloc and len(parts.path) > 1
    is_one_word = re.search(r"\s", url) is None
    return parts.scheme in _ENGINE_SCHEMES and bool(parts.hostname) and port_is_valid and is_one_word


def is_private_url(url: str, *, loopback_http: bool) -> bool:
    """Whether nobody on the way can read or change what is sent to `url`: HTTPS, or HTTP on this machine.

    A URL with a user or a password is refused as well.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port_is_valid = parts.port is None or parts.port > 0
        host.encode("idna")
    except ValueError:
        return False
    is_private = parts.scheme == "https" or (parts.scheme == "http" and loopback_http and is_loopback(host))
    is_plain = "@" not in parts.netloc and re.search(r"[\s\\]", url) is None and url.isprintable()
    return is_private and bool(host) and port_is_valid and is_plain
