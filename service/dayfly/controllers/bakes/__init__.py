"""Bakes that callers request over HTTP: builders claim them by lease, and have each carried out."""
