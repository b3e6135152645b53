"""Examines a host before Dayfly runs on it: the facts, a verdict and advice for each check."""
