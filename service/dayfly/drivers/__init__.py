"""The outside world, one package or module for each technology, behind the interfaces in interfaces/."""
