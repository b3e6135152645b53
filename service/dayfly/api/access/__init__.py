"""Who may use the service: teams and their tokens."""
