"""The published tables as data, their runner, and their report; `python -m benchmarks.reproduce` uses them."""
