"""Keys, certificates and credentials of a cluster."""
