"""What a play of a recipe needs from outside: addresses, keys, logins, the manifest of a network. It is in no key.

The keys and the manifest are downloaded here, before the play. The role bake_addresses reads the file that
write_inputs() writes, which other users of the machine cannot read: logins must not be on a command line.
Not here: the addresses themselves (domain/bake_addresses.py), and Debian's mirrors (apt.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.errors import BakeFailed, InvalidRequest, UpstreamUnavailable
from dayfly.images.recipe import Recipe

_FILE: Final = "addresses.json"
_VARIABLE: Final = "bake_addresses_file"
_MAX_BYTES: Final = 16 << 20
_TIMEOUT_SECONDS: Final = 60.0
"""Without a byte."""
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")
_NO_UPSTREAM: Final = (
    "upstream has no packages of Kubernetes {minor}: set DAYFLY_KUBERNETES_PACKAGES to a mirror with them"
)


def needs_inputs(recipe: Recipe) -> bool:
    """Whether the recipe's play reads the file of write_inputs()."""
    return "kubernetes_minor" in recipe.vars


def check_addresses(recipe: Recipe, addresses: BakeAddresses) -> None:
    """Refuse settings that the recipe cannot be baked with, before anything is built. Raises InvalidRequest."""
    if not needs_inputs(recipe):
        return
    if recipe.vars.get("kubernetes_upstream") == "false" and not addresses.has_own_kubernetes:
        raise InvalidRequest(_NO_UPSTREAM.format(minor=recipe.vars["kubernetes_minor"]))
    _require_key(addresses.kubernetes_packages, addresses.kubernetes_key, "DAYFLY_KUBERNETES_PACKAGES")
    if recipe.vars.get("container_runtime") == "cri-o":
        _require_key(addresses.crio_packages, addresses.crio_key, "DAYFLY_CRIO_PACKAGES")


async def play_inputs(
    recipe: Recipe,
    addresses: BakeAddresses,
    *,
    apt_sources: str = "",
    apt_options: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> dict[str, Any]:
    """The content of the file, for the role bake_addresses; without Kubernetes only for packages of the distribution.

    Raises BakeFailed, InvalidRequest, UpstreamUnavailable.

    `apt_sources`: lines of a sources.list for the root file system; of a file: mirror it could read nothing.
    """
    environment = os.environ if environment is None else environment
    lines = [line for line in apt_sources.splitlines() if " file:" not in line]
    found: dict[str, Any] = {
        "resolv_conf": _read(Path("/etc/resolv.conf"), "the name servers"),
        "proxies": {name.lower(): environment[name] for name in environment if name.lower() in _PROXIES},
        "apt_options": [option for option in apt_options if not option.startswith("Dir::")],
        "apt_sources": "\n".join(lines),
        "dnf_repositories": list(addresses.dnf_repositories),
        "certificate_authorities": _all_authorities(addresses),
        "kubernetes_packages": addresses.kubernetes_packages,
        "crio_packages": addresses.crio_packages,
        "registries": dict(addresses.registries),
        "logins": _logins(addresses),
    }
    if not needs_inputs(recipe):
        return found
    async with open_client(addresses, transport) as http:
        minor = recipe.vars["kubernetes_minor"]
        found["kubernetes_key"] = await _key(http, addresses.kubernetes_packages, addresses.kubernetes_key, minor)
        if recipe.vars.get("container_runtime") == "cri-o":
            found["crio_key"] = await _key(http, addresses.crio_packages, addresses.crio_key, minor)
        if url := str(recipe.vars.get("kubernetes_network_manifest", "")):
            digest = str(recipe.vars["kubernetes_network_sha256"])
            found["network_manifest"] = await _manifest(http, addresses.download(url), digest)
    return found


def write_inputs(recipe: Recipe, inputs: Mapping[str, Any], folder: Path) -> Recipe:
    """Write the file into `folder`; the recipe whose play reads the file. Its keys are those of `recipe`."""
    path = folder / _FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(inputs))
    return recipe.model_copy(update={"vars": {**recipe.vars, _VARIABLE: str(path)}})


def open_client(addresses: BakeAddresses, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client for these addresses. Raises InvalidRequest for certificate authorities that cannot be read."""
    context = ssl.create_default_context()
    if addresses.certificate_authorities is not None:
        text = _authorities(addresses)
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidRequest("the file DAYFLY_BAKE_CERTIFICATE_AUTHORITIES has no certificates in PEM") from error
    return httpx.AsyncClient(verify=context, transport=transport, timeout=_TIMEOUT_SECONDS, follow_redirects=True)


async def download(http: httpx.AsyncClient, url: str, what: str) -> bytes:
    """The content at `url`. Raises UpstreamUnavailable, with the address, for anything but a whole answer."""
    content = await find_download(http, url, what)
    if content is None:
        raise UpstreamUnavailable(f"{what}: {url} does not exist (status 404)")
    return content


async def find_download(http: httpx.AsyncClient, url: str, what: str) -> bytes | None:
    """The content at `url`; None where the server has none. Raises UpstreamUnavailable, also for redirects from HTTPS.

    What HTTPS vouches for, such as a key of packages, must not come over plain HTTP.
    """
    content = bytearray()
    try:
        async with http.stream("GET", url) as answer:
            schemes = [one.url.scheme for one in (*answer.history, answer)]
            if "https" in schemes and "http" in schemes[schemes.index("https") :]:
                raise UpstreamUnavailable(f"{what}: {url} redirects from HTTPS to HTTP, which is refused")
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return None
            if not answer.is_success:
                raise UpstreamUnavailable(f"{what}: {url} was answered with status {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise UpstreamUnavailable(f"{what}: {url} has more than {_MAX_BYTES >> 20} MiB")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamUnavailable(f"{what}: {url} cannot be downloaded: {error or type(error).__name__}") from error
    return bytes(content)


def _require_key(address: str, key: Path | None, variable: str) -> None:
    if key is None and not address.startswith("https://"):
        raise InvalidRequest(
            f"{variable} is not an HTTPS address, so the key that it has proves nothing: set {variable}_KEY to a file "
            "with the key"
        )
    if key is not None and not key.is_file():
        raise InvalidRequest(f"{variable}_KEY is {key}, which is no file")


async def _key(http: httpx.AsyncClient, address: str, key: Path | None, minor: object) -> str:
    if key is not None:
        text = _read(key, "the key of packages")
    else:
        text = (await download(http, f"{address}/v{minor}/deb/Release.key", "the key of packages")).decode(
            "ascii", "replace"
        )
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in text:
        where = key or address
        raise BakeFailed(f"the key of packages at {where} is not an OpenPGP key in ASCII armour")
    return text


async def _manifest(http: httpx.AsyncClient, url: str, digest: str) -> str:
    content = await download(http, url, "the manifest of the network")
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise BakeFailed(f"the manifest of the network at {url} has the SHA-256 {found}; expected: {digest}")
    return content.decode()


def _all_authorities(addresses: BakeAddresses) -> str:
    """The settings' and this machine's: apt and dnf trust those of the file alone. Empty without the setting."""
    if not (own := _authorities(addresses)):
        return ""
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "\n".join([own.rstrip("\n"), *map(ssl.DER_cert_to_PEM_cert, trusted)])


def _authorities(addresses: BakeAddresses) -> str:
    path = addresses.certificate_authorities
    return "" if path is None else _read(path, "the file DAYFLY_BAKE_CERTIFICATE_AUTHORITIES")


def _logins(addresses: BakeAddresses) -> dict[str, dict[str, str]]:
    """A registry's name or the host of its mirror → its login, as in `docker login`'s file."""
    if addresses.registry_logins is None:
        return {}
    text = _read(addresses.registry_logins, "the file DAYFLY_BAKE_REGISTRY_LOGINS")
    try:
        entries = json.loads(text).get("auths", {})
        return {name: {"auth": str(entry["auth"])} for name, entry in entries.items() if entry.get("auth")}
    except (ValueError, AttributeError, TypeError):
        # No cause: its text may quote a login.
        raise InvalidRequest("the file DAYFLY_BAKE_REGISTRY_LOGINS is not as `docker login` writes it") from None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidRequest(f"{what} cannot be read from {path}: {reason}") from error
