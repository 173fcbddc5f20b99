"""Bundles in MLflow, and the only room that imports it: `log` logs one as a model, which `served.py` opens there."""
