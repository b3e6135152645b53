"""The outside world, one module a technology, behind the seams of protocols.py."""
