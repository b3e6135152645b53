"""TLS of the API: certificate files or an authority of the installation's own, read again while the service runs."""
