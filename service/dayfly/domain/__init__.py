"""Pure values and rules. Nothing here does I/O, reads a clock or knows a library of the outside world."""
