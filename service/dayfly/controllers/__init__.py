"""What happens next: which cluster, which steps, when again. Not here: how a step is done (steps/)."""
