"""ZO2's memory table: device memory against model size, published beside ours. Projected bars are hatched."""

from plots import style

METRICS = {"projected": "nvml_projected_bytes", "ok": "nvml_step_peak_bytes"}
MIB = 2.0**20


def _published(figures, shape):
    return next((figure.bytes for figure in figures
                 if figure.system == "python-zo2" and figure.origin == "published"
                 and figure.metric == "nvml_step_peak_bytes" and figure.shape == shape), None)


def _rows(records, figures):
    """(size, published bytes, our bytes, projected?) by model, the smallest first."""
    rows = {}
    for record in records:
        published = _published(figures, record.shape)
        ours = record.metrics.get(METRICS.get(record.state, ""))
        if record.method != "zo2" or published is None or ours is None:
            continue
        size = record.model.removeprefix("opt-").upper()
        projected = record.state == "projected"
        # Measured beats projected; of several measured ones (registered, staged) the first is the manifest's main one.
        if size not in rows or (rows[size][3] and not projected):
            rows[size] = (size, published, ours, projected)
    return sorted(rows.values(), key=lambda row: row[1])


def draw(records, figures):
    rows = _rows(records, figures)
    if not rows:
        return None
    figure, axes = style.new_figure(2.6)
    width = 0.4
    for index, (_, published, ours, projected) in enumerate(rows):
        axes.bar(index - width / 2, published / MIB, width, color=style.GREY)
        axes.bar(index + width / 2, ours / MIB, width, color=style.SKY if projected else style.BLUE,
                 hatch="////" if projected else None, edgecolor=style.BLUE, linewidth=0.6)
    axes.set_yscale("log")
    low = min(min(row[1], row[2]) for row in rows) / MIB
    high = max(max(row[1], row[2]) for row in rows) / MIB
    axes.set_ylim(low / 2, high * 2.2)
    ticks = [t for t in (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768) if low / 2 <= t <= high * 1.1]
    axes.set_yticks(ticks, [f"{t // 1024} GiB" if t >= 1024 else f"{t} MiB" for t in ticks])
    axes.minorticks_off()
    axes.set_xticks(range(len(rows)), [f"{size}\n{published / ours:.1f}x" for size, published, ours, _ in rows])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("OPT model size; published over our memory")
    axes.set_ylabel("device memory (log)")
    handles = [style.plt.Rectangle((0, 0), 1, 1, color=style.GREY)]
    labels = ["Python ZO2, published"]
    if any(row[3] for row in rows):
        handles.append(style.plt.Rectangle((0, 0), 1, 1, facecolor=style.SKY, hatch="////", edgecolor=style.BLUE,
                                           linewidth=0.6))
        labels.append("this engine, PROJECTED")
    if not all(row[3] for row in rows):
        handles.append(style.plt.Rectangle((0, 0), 1, 1, color=style.BLUE))
        labels.append("this engine, measured")
    axes.legend(handles, labels, loc="upper left", handlelength=1.6, borderaxespad=0.1)
    return figure
