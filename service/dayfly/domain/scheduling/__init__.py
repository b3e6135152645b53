"""What clusters need of a host, and which of those that wait is admitted next."""
