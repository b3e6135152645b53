"""The suite's own mirror: Kubernetes' packages, its registry, and a cloud image, for tests where there is no internet."""
