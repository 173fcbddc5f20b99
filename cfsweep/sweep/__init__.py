"""The sweep: Optuna asks, Ray Tune schedules packs, the driver writes."""
