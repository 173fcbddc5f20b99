"""How much of a study its sampler looks at, so that an answer costs the same at trial 100,000 as at trial 1,000."""

MOST_ENDED = 300  # ended trials; beyond, the best and the latest are kept
BEST = 50  # of them; TPE calls 25 (one objective) or a tenth (several) of what it looks at good
MOST_RUNNING = 100  # trials on their way, the latest ones
