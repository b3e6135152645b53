"""/v1/quota and /v1/quotas."""
