"""A results folder: what its Parquet tables hold, how they are written, how they are read."""
