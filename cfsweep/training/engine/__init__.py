"""Many models at once: networks, gradients, optimizers and evaluation over a leading dimension of rows."""
