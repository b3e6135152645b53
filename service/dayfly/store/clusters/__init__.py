"""Clusters in the database: creation, queries, updates, lifecycle requests, leases, status; what is built of them."""
