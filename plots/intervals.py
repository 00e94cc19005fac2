"""How sure a figure is of a cell: the process is the unit of replication, steps are not.

From five repeats on: a 95% bootstrap interval of the median. Below five no interval means anything: figures show every
value instead. A bar's interval describes that bar; whether two cells differ is what `zo2 compare` says.
"""

import numpy

FEWEST = 5
RESAMPLES = 10_000


def interval(values: list[float]) -> tuple[float, float] | None:
    """The 95% interval of the median, by resampling repeats with a fixed seed; None below five."""
    if len(values) < FEWEST:
        return None
    data = numpy.sort(numpy.asarray(values, dtype=float))
    chosen = numpy.random.default_rng(0).integers(0, len(data), size=(RESAMPLES, len(data)))
    low, high = numpy.quantile(numpy.median(data[chosen], axis=1), [0.025, 0.975])
    return float(low), float(high)


def draw(axes, position: float, values: list[float], horizontal: bool = False) -> None:
    """Marks the interval of a bar at `position`, or all its values where there are two to four."""
    bounds = interval(values)
    style = {"color": "black", "zorder": 3}
    if bounds is not None:
        line = ([position, position], bounds)
        axes.plot(*(reversed(line) if horizontal else line), linewidth=1.2, solid_capstyle="butt", **style)
    elif len(values) > 1:
        points = ([position] * len(values), values)
        axes.plot(*(reversed(points) if horizontal else points), ".", markersize=3, **style)
