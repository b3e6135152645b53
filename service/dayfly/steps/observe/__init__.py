"""What steps observe of a cluster: exits, traffic, diagnostics."""
