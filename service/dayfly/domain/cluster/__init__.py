"""A cluster: model, specification, lifecycle, topology and plan, as values and rules."""
