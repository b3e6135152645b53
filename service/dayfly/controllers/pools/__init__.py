"""Pools: their size and the health of their members."""
