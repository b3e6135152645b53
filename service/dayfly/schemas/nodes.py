"""Nodes of a cluster over HTTP: responses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from dayfly.domain.image import NodeSize
from dayfly.schemas.clusters import Endpoint, Step


class NodeMemory(BaseModel):
    """What a machine has of the host's memory, in bytes, by the kernel's own accounting."""

    shared_bytes: int = Field(description="Shared with other processes: with other forks of its template, above all.")
    private_bytes: int = Field(description="Its own.")
    proportional_bytes: int = Field(description="Its own, and its fair part of what is shared (PSS).")


class NodeView(BaseModel):
    """A node: a virtual machine of the cluster. `address` is its own inside; `ssh` leads to it from outside."""

    name: str
    role: Literal["control-plane", "worker"]
    address: str
    size: NodeSize
    ssh: Endpoint | None
    memory: NodeMemory | None = Field(description="At this moment; null where it does not run, or cannot be asked.")
    steps: list[Step]


class NodeList(BaseModel):
    nodes: list[NodeView]


class SshAccess(BaseModel):
    """All that an SSH client needs to get in, and to know that it got to the right machine. Keep it to yourself."""

    host: str
    port: int
    username: str
    private_key: str = Field(description="OpenSSH's format; this cluster's only.", repr=False)
    host_key: str = Field(description="The public host key that the node shows.")
    known_hosts: str = Field(description="The same as a line for a known_hosts file.")
