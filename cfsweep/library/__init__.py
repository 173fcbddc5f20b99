"""cfsweep from a script, a notebook or a test: typed functions, whose results show themselves.

`train` trains given settings in this process; `sweep` and `resume` search; `confirm` and `export` end in a model, which
`continue_` teaches the next task and `log` logs in MLflow. The command line is a thin shell over them. Their names are
those of `cfsweep` itself: `cfsweep.train`, and so on.
"""
