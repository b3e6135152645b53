"""The requests of the API as values, a module for each resource. Both clients send these."""
