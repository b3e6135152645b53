"""The baker image, for bakes in a container: a Debian base, the tools of a bake, Dayfly's requirements.

It is built once for each base and set of requirements. Dayfly itself is not in it: each container gets the files of the
running installation (container_bake.py). The image is for this engine only: it is never pushed, and no file of it gets
into a node image.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import re
import shlex
from collections import deque
from collections.abc import Iterable
from typing import Final

from dayfly.drivers.interfaces import File, ImageStore, ToolContainer, ToolRunner
from dayfly.errors import BakeFailed, DayflyError, ImageMissing
from dayfly.images.cloud.tools import TOOLS as CLOUD_TOOLS
from dayfly.images.container import TAG_LENGTH, remove_former
from dayfly.images.host import TOOLS
from dayfly.images.host_access import HostAccess
from dayfly.images.process import EVIDENCE_LINES, failure
from dayfly.images.rootfs import OnLine

LABEL_BAKER: Final = "dayfly.baker"
PYTHON: Final = "/opt/venv/bin/python"
CA_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_REPOSITORY: Final = "dayfly/baker"
_SETUP: Final = "/opt/dayfly-setup"
_APT_CONF: Final = "/etc/apt/apt.conf.d/90dayfly-host"
_READY: Final = "dayfly: everything is installed"
_EXTRAS: Final = ("server", "bake")
_LIMIT_SECONDS: Final = 1800.0

PACKAGES: Final = tuple(
    sorted(
        {
            *TOOLS.values(),
            *CLOUD_TOOLS.values(),
            "ca-certificates",
            "debian-archive-keyring",
            "iproute2",
            "python3",
            "python3-venv",
        }
    )
)
CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
"""The needs of apt and dpkg: files of all owners, and a separate user for downloads."""

_INSTALL: Final = f"""\
set -eu
cd {_SETUP}
. ./environment
. /etc/os-release
if [ "$ID" != debian ]; then
    echo "the base is $PRETTY_NAME: a bake needs a Debian, 12 or newer"
    exit 1
fi
if [ -s sources ]; then
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
    sed "s/@SUITE@/$VERSION_CODENAME/" sources > /etc/apt/sources.list
fi
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/dayfly
export DEBIAN_FRONTEND=noninteractive
apt-get update --error-on=any
apt-get install --yes --no-install-recommends {" ".join(PACKAGES)}
apt-get clean
[ ! -e ca-bundle ] || cp ca-bundle {CA_BUNDLE}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {{
    echo "the base has $(python3 --version): Dayfly needs 3.11, Debian 12 or newer has it"
    exit 1
}}
python3 -m venv /opt/venv
PIP_CONFIG_FILE={_SETUP}/pip.conf /opt/venv/bin/pip install --no-cache-dir --requirement requirements
cd /
rm -rf {_SETUP} {_APT_CONF}
echo "{_READY}"
cat
"""
"""`cat` keeps the container alive until its image is committed, and ends with the caller, when the input ends."""


async def ensure_baker(base: str, access: HostAccess, *, images: ImageStore, tools: ToolRunner, on_line: OnLine) -> str:
    """The baker image's reference; a missing image is built. `base` is pulled when the engine does not have it.

    Raises BakeFailed, DiskFull, ImageMissing for the base, EngineUnavailable.
    """
    needed = requirements(_declared())
    base_id = await _base(base, images, on_line)
    key = hashlib.sha256(json.dumps([base_id, _INSTALL, needed, _sources(access)]).encode()).hexdigest()
    reference = f"{_REPOSITORY}:{key[:TAG_LENGTH]}"
    try:
        await images.inspect(reference)
    except ImageMissing:
        on_line("packages come from " + ("this host's mirror" if access.apt_sources else "the base's own sources"))
        image_id = await _make(base_id, reference, key, setup_files(access, needed), access, tools, on_line)
        await remove_former(images, _REPOSITORY, label=LABEL_BAKER, current=image_id)
    return reference


def access_files(access: HostAccess) -> tuple[File, ...]:
    """Files for every container of a bake, to reach the archives of packages. No image keeps them."""
    files = [File(_APT_CONF, "".join(f"{line}\n" for line in access.apt_options).encode(), 0o644)]
    if access.ca_bundle is not None:
        files.append(File(CA_BUNDLE, access.ca_bundle, 0o644))
    return tuple(files)


def setup_files(access: HostAccess, needed: Iterable[str]) -> tuple[File, ...]:
    """All files for the installation; its script removes them."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(access.proxies.items()))
    if access.ca_bundle is not None:
        exports += f"export PIP_CERT={CA_BUNDLE} SSL_CERT_FILE={CA_BUNDLE}\n"
    pip = "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(access.pip_options.items()))
    texts = {
        "install": _INSTALL,
        "environment": exports,
        "pip.conf": pip,
        "sources": _sources(access),
        "requirements": "".join(f"{line}\n" for line in needed),
    }
    files = [File(f"{_SETUP}/{name}", text.encode(), 0o600) for name, text in texts.items()]
    if access.ca_bundle is not None:
        files.append(File(f"{_SETUP}/ca-bundle", access.ca_bundle, 0o644))
    return (*access_files(access), *files)


def requirements(declared: Iterable[str]) -> tuple[str, ...]:
    """The requirements of the server and of bakes among those of a distribution, in pip's form."""
    wanted = []
    extra = re.compile(r"""\s*(?:and\s+)?extra\s*==\s*["']([^"']+)["']""")
    for line in declared:
        requirement, _, marker = line.partition(";")
        found = extra.search(marker)
        if found is None or found[1] in _EXTRAS:
            rest = extra.sub("", marker).strip()
            wanted.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return tuple(wanted)


def _declared() -> list[str]:
    try:
        return importlib.metadata.requires("dayfly") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise BakeFailed("this dayfly is not installed, so its requirements are not known: use pip install") from error


def _sources(access: HostAccess) -> str:
    return "".join(f"deb {uri} @SUITE@{suffix} main\n" for suffix, uri in sorted(access.apt_sources.items()))


async def _base(base: str, images: ImageStore, on_line: OnLine) -> str:
    """The id of the base's image."""
    try:
        return (await images.inspect(base)).id
    except ImageMissing:
        on_line(f"pulling {base}")
    try:
        async for progress in images.pull(base):
            on_line(f"pulling {base}: {progress.layer} {progress.status}")
    except DayflyError as error:
        raise type(error)(
            f"the base of bakes in a container, {base}, is not on the engine and cannot be pulled: "
            f"import a Debian (`mmdebstrap --variant=minbase bookworm - | docker import - {base}`), or name another "
            "image in DAYFLY_BAKE_BASE",
            evidence=error.evidence,
            operator_detail=error.for_operator,
        ) from error
    return (await images.inspect(base)).id


async def _make(
    base_id: str,
    reference: str,
    key: str,
    files: tuple[File, ...],
    access: HostAccess,
    tools: ToolRunner,
    on_line: OnLine,
) -> str:
    tool = ToolContainer(
        image=base_id,
        command=("sh", f"{_SETUP}/install"),
        capabilities=CAPABILITIES,
        files=files,
        folders=access.folders,
    )
    tail: deque[str] = deque(maxlen=EVIDENCE_LINES)
    async with asyncio.timeout(_LIMIT_SECONDS), tools.run(tool) as run:
        async for line in run.lines():
            if line.text == _READY:
                return await run.commit(reference, labels={LABEL_BAKER: key})
            tail.append(line.text)
            on_line(line.text)
        raise failure("the installation of the tools", await run.exit_code(), tail)
