"""The tests' own mirror, for machines without internet: Kubernetes' packages, its registry, and a cloud image."""
