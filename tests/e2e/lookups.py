"""Lookups of names in a cluster: by busybox from a pod, and by glibc in a pod's network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tests.e2e.lab import NODES, Lab
from tests.support.guest import until

ZONE: Final = "svc.cluster.local"
HERE: Final = f"default.{ZONE}"
FOLLOWED_SECONDS: Final = 60
"""The most that the server's records are behind the API server's objects."""
NXDOMAIN: Final = "NXDOMAIN"
"""The name does not exist."""
NODATA: Final = "NODATA"
"""The name exists, without a record of the type."""
_ANSWERS: Final = (
    (re.compile(r"Address: (\S+)"), "{}"),
    (re.compile(r"\S+\tcanonical name = (\S+)"), "CNAME {}"),
    (re.compile(r"\S+\tservice = (.+)"), "{}"),
    (re.compile(r"\S+\tname = (\S+)"), "{}"),
    (re.compile(r"\S+\ttext = \"(.*)\""), "{}"),
    (re.compile(r"\*\* server can't find .*: (NXDOMAIN|SERVFAIL|REFUSED)"), "{}"),
    (re.compile(r"(;; connection timed out.*|nslookup: .*)"), "{}"),
)


def look_up(lab: Lab, node: str, questions: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The answers that the pod of `web` on `node` gets: type and full name → records, or the error."""
    return read_answers(lab.in_pod_on(node, script_of(questions)))


def script_of(questions: Iterable[tuple[str, str]]) -> str:
    """A shell script with all queries: each exec takes an emulated node a second."""
    return "\n".join(f"echo '@@@'; /bin/busybox nslookup -type={kind} {name} 2>&1 || true" for kind, name in questions)


def read_answers(output: str) -> list[set[str]]:
    """The answers in the output of `script_of`, in the order of its questions."""
    return [set(_records(part)) for part in output.split("@@@\n")[1:]]


def _records(said: str) -> Iterable[str]:
    # The first two lines name the server. For NODATA, busybox prints nothing.
    server, *lines = said.strip().splitlines()
    assert server.startswith("Server:"), said
    if not "".join(lines[1:]):
        yield NODATA
    for line in lines[1:]:
        for pattern, form in _ANSWERS:
            if found := pattern.fullmatch(line.strip()):
                yield form.format(found[1])


def resolve(lab: Lab, node: str, names: Sequence[str], *, ndots: int) -> Mapping[str, set[str]]:
    """IPv4 addresses of names by glibc, in the network and with the resolv.conf of the pod of `web` on `node`."""
    configuration = re.sub(r"ndots:\d+", f"ndots:{ndots}", lab.in_pod_on(node, "cat /etc/resolv.conf"))
    assert f"ndots:{ndots}" in configuration
    inside = "mount --bind /run/resolv.test /etc/resolv.conf; "
    inside += f"for name in {' '.join(names)}; do echo @@@; getent ahostsv4 $name || true; done"
    command = f"cat > /run/resolv.test << 'END'\n{configuration}\nEND\n"
    command += f'nsenter --target "$(pgrep -x httpd | head -n 1)" --net unshare --mount sh -c "{inside}"'
    command = command.replace("$name", r"\$name")
    # Without line feeds: those at the output's end are cut off.
    parts = lab.on_node(node, command).split("@@@")[1:]
    found = (part.strip().splitlines() for part in parts)
    return {name: {line.split()[0] for line in lines} for name, lines in zip(names, found, strict=True)}


def assert_followed(lab: Lab) -> None:
    """A new Service soon has a name, a deleted Service has none."""
    question = ("a", f"followed.{HERE}")

    def answer(*, gone: bool) -> set[str] | None:
        (found,) = look_up(lab, NODES[0], [question])
        return found if (found == {NXDOMAIN}) is gone else None

    lab.kubectl("create", "service", "clusterip", "followed", "--tcp=80")
    began = time.monotonic()
    found = until("the new Service has a name", lambda: answer(gone=False), seconds=FOLLOWED_SECONDS)
    print(f"a new Service has a name after {time.monotonic() - began:.1f} s")
    assert found == {cluster_ip(lab, "followed")}
    lab.kubectl("delete", "service", "followed")
    until("the deleted Service has no name", lambda: answer(gone=True), seconds=FOLLOWED_SECONDS)


def cluster_ip(lab: Lab, service: str) -> str:
    return lab.kubectl("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
