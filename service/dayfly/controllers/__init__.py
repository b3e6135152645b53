"""WHAT happens next: which clusters, which steps, when again. How a step is done stands in engine/."""
