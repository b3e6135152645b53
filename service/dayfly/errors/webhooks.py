"""Failures of webhooks: a receiver was not called, or did not accept the call."""

from __future__ import annotations

from dayfly.errors.failures import Failure


class WebhookAddressForbidden(Failure, code="webhook_address_forbidden"):
    """The receiver has no address that this installation may call."""


class WebhookUnreachable(Failure, code="webhook_unreachable", retryable=True):
    """The receiver's name has no address, or no connection to the receiver was possible."""


class WebhookTlsFailed(Failure, code="webhook_tls_failed", retryable=True):
    """The receiver's certificate is not valid for its name, or the TLS connection failed."""


class WebhookTimeout(Failure, code="webhook_timeout", retryable=True):
    """The receiver did not answer in time."""


class WebhookRefused(Failure, code="webhook_refused", retryable=True):
    """The receiver answered with another status than success."""


class WebhookNotHttp(Failure, code="webhook_not_http", retryable=True):
    """The receiver's answer is not HTTP, or ended early."""
