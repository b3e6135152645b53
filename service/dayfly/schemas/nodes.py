"""Nodes of a cluster over HTTP: responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dayfly.schemas.base import Id, Open, ResponseModel
from dayfly.schemas.clusters import HOST, Endpoint, NodeSize, Step


class NodeMemory(ResponseModel):
    """What a machine has of the host's memory, in bytes, by the kernel's own accounting."""

    shared_bytes: int = Field(description="Shared with other processes: with other forks of its template, above all.")
    private_bytes: int = Field(description="Its own.")
    proportional_bytes: int = Field(description="Its own, and its fair part of what is shared (PSS).")


class Node(ResponseModel):
    """A node: a virtual machine of the cluster. `address` is its own inside; `ssh` leads to it from outside."""

    name: Id
    role: Open[Literal["control-plane", "worker"]]
    address: str
    size: NodeSize
    ssh: Endpoint | None
    memory: NodeMemory | None = Field(description="At this moment; null where it does not run, or cannot be asked.")
    steps: tuple[Step, ...]


class NodeList(ResponseModel):
    nodes: tuple[Node, ...]


class SshAccess(ResponseModel):
    """All that an SSH client needs to get in, and to know that it got to the right machine. Keep it to yourself.

    A client gives these to `ssh` as arguments and files: each has a strict form.
    """

    host: str = Field(pattern=HOST)
    port: int = Field(ge=1, le=65535)
    username: str = Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    private_key: str = Field(
        description="OpenSSH's format; this cluster's only.",
        repr=False,
        max_length=16384,
        pattern=r"^-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END OPENSSH PRIVATE KEY-----\n?$",
    )
    host_key: str = Field(
        description="The public host key that the node shows.", pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/=]+$"
    )
    known_hosts: str = Field(
        description="The same as a line for a known_hosts file.", pattern=r"^[!-~]+ [a-z0-9@.-]+ [A-Za-z0-9+/=]+$"
    )
