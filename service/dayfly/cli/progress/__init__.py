"""Live progress on a terminal, and as lines elsewhere."""
