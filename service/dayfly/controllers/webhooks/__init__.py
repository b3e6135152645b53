"""Sends what events cause to webhooks."""
