"""Throughput by method, a panel for every model and shape that was measured; all repeats are shown as points."""

import statistics

from plots import style

ORDER = ["mezo", "resident", "zo2"]
MOST_PANELS = 4


def _groups(records):
    """{(model, dtype, batch, seq): {method: [tok/s, ...]}} of good records."""
    groups = {}
    for record in records:
        speed = record.metrics.get("tokens_per_s")
        if record.state == "ok" and isinstance(speed, (int, float)):
            groups.setdefault(record.shape[:4], {}).setdefault(record.method, []).append(speed)
    return groups


def _panel(axes, shape, methods):
    present = [method for method in ORDER if method in methods]
    for x, method in enumerate(present):
        speeds = methods[method]
        median = statistics.median(speeds)
        axes.bar(x, median, 0.72, color=style.METHOD_COLOURS[method])
        if len(speeds) > 1:
            axes.plot([x] * len(speeds), speeds, ".", color="black", markersize=2.5)
        axes.annotate(f"{median:,.0f}" if median >= 100 else f"{median:#.3g}", (x, max(speeds)), ha="center",
                      va="bottom", xytext=(0, 1.5), textcoords="offset points", fontsize=7)
    model, dtype, batch, seq = shape
    axes.set_title(f"{model.upper()}\n{dtype}, batch {batch}, seq {seq}", fontsize=7.5)
    axes.set_xticks(range(len(present)), present)
    axes.set_xlim(-0.6, len(present) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.14)


def draw(records, figures):
    del figures
    groups = list(_groups(records).items())[:MOST_PANELS]
    if not groups:
        return None
    figure, panels = style.new_figure(2.2, len(groups))
    for axes, (shape, methods) in zip([panels] if len(groups) == 1 else panels, groups):
        _panel(axes, shape, methods)
    figure.supylabel("tokens/s", fontsize=8)
    return figure
