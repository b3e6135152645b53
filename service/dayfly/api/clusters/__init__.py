"""/v1/clusters: routes, presenters and checks of requests."""
