"""Everything that draws or writes a study for a reader: the report (`page`), tables (`tables`), a still (`picture`)."""
