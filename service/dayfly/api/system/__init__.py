"""The service itself: health, readiness, version, metrics."""
