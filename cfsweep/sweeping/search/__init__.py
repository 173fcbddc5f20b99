"""Optuna: the only room that imports it. `asker.open_asker` is its door."""
