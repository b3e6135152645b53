"""What goes over HTTP: requests and responses as pydantic models, a module for each resource."""
