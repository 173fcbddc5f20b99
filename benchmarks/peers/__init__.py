"""The same sweep through what one would use instead, and through cfsweep: `python -m benchmarks.peers`."""
