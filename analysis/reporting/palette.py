"""Colours that stay apart for colour-blind readers, the same in every picture.

References:
    Okabe & Ito 2008, "Color Universal Design".
"""

FRONT = "#0072B2"
OTHERS = "#9aa7b4"
DEFAULT = "#E69F00"
NAIVE = "#D55E00"
JOINT = "#009E73"
MAJORITY = "#CC79A7"
CHOSEN = "#111111"
CONTOUR = "#b9bfc6"
GRID = "#eceff2"
TEXT = "#1f2933"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7a6a00", "#5b4a9c", "#a23b3b")
# Best to worst, dark to light, so that the order can be told in grey print too.
GROUPS = ("#08306b", "#2e7ebc", "#9cc3e0", "#d9dde1")
