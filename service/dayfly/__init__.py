"""Dayfly: ephemeral Kubernetes clusters of QEMU virtual machines in containers, over HTTP."""

__version__ = "0.2.0"
