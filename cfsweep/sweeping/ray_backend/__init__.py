"""Ray: the only room that imports it. `scheduler.ray_scheduler` is its door."""
