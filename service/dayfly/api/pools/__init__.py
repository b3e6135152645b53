"""/v1/pools: routes and presenter."""
