"""HTTP only: parse, check, call the store, render.

Not here: what happens to a cluster next (controllers/), or how (steps/).
"""
