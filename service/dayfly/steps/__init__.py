"""The steps that create a cluster, one file a step. A step knows neither the database nor the next step."""
