"""POST /v1/images and /v1/bakes: routes and presenter."""
