"""How sure a figure is of a cell: the process is the unit of replication, steps are not.

From five repeats on: a 95% bootstrap interval of the median, by the rule of src/experiment/bootstrap.h, which says why the
plain percentiles are too narrow. Below five no interval means anything: figures show every value instead. A bar's interval
describes that bar; whether two cells differ is what `zo2 compare` says.
"""

import math
import statistics

import numpy

FEWEST = 5
RESAMPLES = 10_000
NORMAL = statistics.NormalDist()


def student_quantile(degrees: float) -> float:
    """The 0.975 quantile of Student's t, by the series of src/experiment/statistics.h."""
    z = NORMAL.inv_cdf(0.975)
    first = z * (z**2 + 1) / 4
    second = z * (5 * z**4 + 16 * z**2 + 3) / 96
    third = z * (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def expanded_tail(count: int) -> float:
    """The probability to cut off at each end for 95% with `count` values."""
    return NORMAL.cdf(-math.sqrt(count / (count - 1)) * student_quantile(count - 1))


def interval(values: list[float], statistic=numpy.median) -> tuple[float, float] | None:
    """The 95% interval of the median, by resampling repeats with a fixed seed; None below five.

    statistic: another function of numpy in its place.
    """
    if len(values) < FEWEST:
        return None
    data = numpy.sort(numpy.asarray(values, dtype=float))
    chosen = numpy.random.default_rng(0).integers(0, len(data), size=(RESAMPLES, len(data)))
    tail = expanded_tail(len(data))
    low, high = numpy.quantile(statistic(data[chosen], axis=1), [tail, 1 - tail])
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
