"""Dayfly: ephemeral Kubernetes clusters of QEMU virtual machines in containers, over HTTP."""

__version__ = "0.3.0"
