"""Notification of commits, within a process and between processes, so that nothing has to poll."""
