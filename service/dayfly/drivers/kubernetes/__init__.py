"""A cluster's API server, over HTTP."""
