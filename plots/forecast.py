"""Measured over forecast: speed and device memory of cells that were run and, with engine.project, forecast.

    zo2 run MANIFEST --out DIR && zo2 run MANIFEST -S engine.project=true --out DIR-projected
    python -m plots DIR DIR-projected --out FIGURES --only forecast
"""

from plots import series, style, text
from plots.records import NothingToDraw

# (measured metric, projected metric, axis, how a value is written, ticks)
PANELS = [("tokens_per_s", "tokens_per_s", "tokens/s", text.rate, [10.0**power for power in range(7)]),
          ("nvml_step_peak_bytes", "nvml_projected_bytes", "GPU memory (NVML)", lambda count: f"{count / 2**30:g} GiB",
           [4.0**power for power in range(13, 20)])]
BAND = 0.1  # the goal in docs/performance.md
NOT_COMPARED = {"engine.project", "engine.device"}


def pairs(results, measured: str, projected: str) -> list[tuple]:
    """(record, forecast, measured value) of cells that ran on a GPU and are equal but for engine.project."""
    forecasts = {}
    for cell in results.cells:
        if cell.first.state == "projected" and (value := cell.median(projected)) is not None:
            forecasts[cell.first.setting(NOT_COMPARED)] = value
    return [(cell.first, forecast, cell.median(measured)) for cell in results.measured(measured)
            if cell.first.device == "cuda"
            and (forecast := forecasts.get(cell.first.setting(NOT_COMPARED))) is not None]


def _panel(axes, found, write, ticks, looks):
    axes.axhspan(1 - BAND, 1 + BAND, color="#E8E8E8", linewidth=0, label=f"within {BAND:.0%}")
    axes.axhline(1, color="#555555", linewidth=0.6)
    for name, (colour, marker) in looks.items():
        points = [(forecast, measured / forecast) for record, forecast, measured in found
                  if series.label(record) == name]
        if points:
            axes.plot(*zip(*points), marker, markersize=4, markerfacecolor="none", color=colour, label=name)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [write(tick) for tick in shown])
    axes.minorticks_off()


def draw(results):
    panels = [(pairs(results, measured, projected), *how) for measured, projected, *how in PANELS]
    panels = [panel for panel in panels if panel[0]]
    if not panels:
        raise NothingToDraw("no cell was both run on a GPU and forecast (run it again with -S engine.project=true)")
    looks = series.looks(record for found, *_ in panels for record, _, _ in found)
    figure, axes = style.new_figure(2.3, 1, len(panels), sharey=True)
    for axis, (found, name, write, ticks) in zip(axes[0], panels):
        _panel(axis, found, write, ticks, looks)
        axis.set_xlabel(f"forecast\n{name}")
    axes[0, 0].set_ylabel("measured over forecast")
    style.legend(figure, axes, columns=2)
    return {"forecast": figure}
