"""The provisioning pipeline: a recipe becomes a node image. Nothing here knows of clusters."""
