"""The outside world, one module a technology, behind the interfaces in interfaces/."""
