"""Everything that draws or writes a study for a reader: the report, tables, and a still picture of the front.

`page` writes the report: `sections` and the `glossary`, in the frame that `html` gives. The sections draw with
`figures`, `setting_figures` and `progress_figures`. `tables`, `differences` and `picture` serve commands
of their own.
"""
