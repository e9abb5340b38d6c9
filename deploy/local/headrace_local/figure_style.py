"""What all figures of the project have in common."""

from __future__ import annotations

from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart; with the dashes also in print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
DOTS_PER_INCH = 200


def tidy(axes: Axes) -> None:
    """A faint grid, and no frame but the axes."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
