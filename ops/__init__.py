"""Settings, sources, services, outcomes: what keeps the pipeline running."""
