"""HOW: the steps that make a cluster. One step, one file; none knows the database, or what comes next."""
