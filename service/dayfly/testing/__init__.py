"""Fakes of the outside world, for tests. Not in the wheel, and never imported by production code."""
