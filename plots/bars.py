"""Horizontal bars of a metric, a cell a row, each with its value behind it. Used by ablations and waterfalls."""

from plots import intervals, style, text

SPEED = "tokens_per_s"
MEMORIES = {"nvml_step_peak_bytes": "GPU memory (NVML)", "arena_bytes": "device memory (arena)"}
COLOURS = {SPEED: style.BLUE} | dict.fromkeys(MEMORIES, style.ORANGE)
TITLES = {SPEED: "tokens/s"} | MEMORIES


def memory_metric(cells) -> str | None:
    """The first measure of device memory that all these cells have."""
    return next((name for name in MEMORIES if all(cell.values(name) for cell in cells)), None)


def draw(axes, cells, metric: str, room: float, first_colour: str | None = None, steps: bool = False) -> None:
    """A panel without a scale: the numbers stand beside the bars, for which it leaves `room` times the longest bar.

    With `steps` an outline shows what each cell took off the one before.
    """
    write = text.rate if metric == SPEED else text.size
    medians = [cell.median(metric) for cell in cells]
    for row, (cell, median) in enumerate(zip(cells, medians)):
        axes.barh(row, median, 0.68, color=first_colour if first_colour and row == 0 else COLOURS[metric])
        end = max(cell.values(metric))
        if steps and row > 0 and medians[row - 1] > median:
            axes.barh(row, medians[row - 1] - median, 0.68, left=median, facecolor="none", edgecolor=style.GREY,
                      linewidth=0.5, linestyle=":")
            end = max(end, medians[row - 1])
        intervals.draw(axes, row, cell.values(metric), horizontal=True)
        axes.annotate(write(median), (end, row), va="center", xytext=(3, 0), textcoords="offset points",
                      fontsize=style.SMALL)
    axes.set_xlim(0, max(max(cell.values(metric)) for cell in cells) * (1 + room))
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.set_xticks([])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
