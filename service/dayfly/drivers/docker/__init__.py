"""Docker and Podman, over Docker's API."""
