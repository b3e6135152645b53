"""Clusters in the database: creation, queries, updates, lifecycle requests, leases, status, template builds."""
