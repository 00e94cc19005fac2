"""Throughput by method for every model and shape that was measured; all repeats are shown as points."""

import statistics

from plots import style

ORDER = ["mezo", "resident", "zo2"]


def _groups(records):
    """{(model, dtype, batch, seq): {method: [tok/s, ...]}} of good records."""
    groups = {}
    for record in records:
        speed = record.metrics.get("tokens_per_s")
        if record.state == "ok" and isinstance(speed, (int, float)):
            groups.setdefault(record.shape[:4], {}).setdefault(record.method, []).append(speed)
    return groups


def draw(records, figures):
    del figures
    groups = _groups(records)
    if not groups:
        return None
    figure, axes = style.new_figure(2.4)
    width = 0.27
    centres, labels, seen = [], [], []
    for group, (shape, methods) in enumerate(groups.items()):
        present = [method for method in ORDER if method in methods]
        for position, method in enumerate(present):
            x = group + (position - (len(present) - 1) / 2) * width
            speeds = methods[method]
            median = statistics.median(speeds)
            axes.bar(x, median, width * 0.94, color=style.METHOD_COLOURS[method])
            if len(speeds) > 1:
                axes.plot([x] * len(speeds), speeds, ".", color="black", markersize=2.5)
            axes.annotate(f"{median:,.0f}" if median >= 100 else f"{median:.3g}", (x, max(speeds)), ha="center",
                          va="bottom", xytext=(0, 1.5), textcoords="offset points", fontsize=6.5)
            if method not in seen:
                seen.append(method)
        centres.append(group)
        model, dtype, batch, seq = shape
        labels.append(f"{model.replace('opt-', 'OPT-').upper()}\n{dtype}, {batch} x {seq}")
    axes.set_xticks(centres, labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel("tokens/s")
    axes.margins(y=0.22)
    handles = [style.plt.Rectangle((0, 0), 1, 1, color=style.METHOD_COLOURS[method]) for method in ORDER
               if method in seen]
    axes.legend(handles, [method for method in ORDER if method in seen], loc="upper right", ncols=3, handlelength=1.2,
                columnspacing=1)
    return figure
