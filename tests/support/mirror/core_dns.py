"""An image with the name of CoreDNS that has the recipe's DNS server: Debian has no package of CoreDNS.

The server takes the place of CoreDNS in kubeadm's Deployment: the same ports, paths and permissions. It does not read
the Corefile, and its metrics are a constant.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import IO, Final

from tests.support.docker_archives import write_archive

_SERVER: Final = "dayfly.local_dns_1.tar"
_START: Final = """\
# The arguments are those of CoreDNS. The liveness probe asks port 8080, the Service has metrics on port 9153.
busybox httpd -p 8080 -h /status
busybox httpd -p 9153 -h /status
exec /dayfly-dns
"""


def write_core_dns(images: Path, reference: str, target: Path) -> Path:
    """Write the image `reference` to `target`; `images` has the recipe's archives."""
    with tarfile.open(images / _SERVER) as archive:
        (image,) = json.load(_member(archive, "manifest.json"))
        (layer,) = image["Layers"]
        server = gzip.decompress(_member(archive, layer).read())
    files = {"start": _START, "status/health": "OK", "status/metrics": "coredns_build_info 1\n"}
    return write_archive(target, reference, (), files, entrypoint=("/bin/busybox", "sh", "/start"), below=server)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.extractfile(name)
    assert member is not None, f"{name} is not a file"
    return member
