"""Sequential training of packs of runs: streams, networks, ingredients, the loop. Imports neither ray nor optuna."""
