"""The sweep: an asker proposes trials, a scheduler trains packs, the driver writes."""
