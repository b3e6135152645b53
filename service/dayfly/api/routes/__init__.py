"""One module a resource. Each has a `router`."""
