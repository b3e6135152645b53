"""/v1/images: routes and presenter of the catalog of node images."""
