"""QEMU's virtual machines in node containers: QMP, the guest agent, KVM."""
