"""Calls of webhooks over HTTP."""
