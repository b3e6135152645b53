"""What steps do to the virtual machines of a cluster: snapshot files, pause and resume."""
