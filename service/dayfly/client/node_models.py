"""Responses about the nodes of a cluster, as typed values."""

from __future__ import annotations

from pydantic import Field

from dayfly.client.models import Answer, Endpoint, NodeSize, Step


class NodeMemory(Answer):
    """What a machine has of the host's memory, in bytes; `proportional_bytes`: with its fair part of what is shared."""

    shared_bytes: int
    private_bytes: int
    proportional_bytes: int


class Node(Answer):
    """A virtual machine of a cluster. `address` is its own inside; `ssh` leads to it from outside.

    `memory`: what it has at this moment; None where it does not run.
    """

    name: str
    role: str
    address: str
    size: NodeSize
    ssh: Endpoint | None = None
    memory: NodeMemory | None = None
    steps: tuple[Step, ...] = ()


class NodeList(Answer):
    nodes: tuple[Node, ...]


class SshAccess(Answer):
    """All that an SSH client needs; keys in OpenSSH's formats."""

    host: str
    port: int
    username: str
    private_key: str = Field(repr=False)
    host_key: str
    known_hosts: str
