"""/v1/webhooks: routes, presenter, and the calls that receivers get."""
