"""/v1/templates: routes and presenter."""
