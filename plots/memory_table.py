"""ZO2's memory table: device memory by model size, published beside ours. Projected bars are hatched."""

import dataclasses

from plots import style, text
from plots.records import NothingToDraw

METRICS = {"projected": "nvml_projected_bytes"}  # others: NVML at the ends of steps
MEASURED = "nvml_step_peak_bytes"
MIB = 2.0**20


@dataclasses.dataclass(frozen=True)
class Row:
    size: str  # "1.3B"
    published: float  # bytes
    python: float | None  # bytes: the published code, measured on our machine
    ours: float  # bytes
    projected: bool


def rows(results) -> list[Row]:
    """Of zo2 as it is by default, at the smallest arena, by model, the smallest first.

    Measured beats projected; of several measured cells (registered, staged) the first is the manifest's main one.
    """
    published = results.published("python-zo2", MEASURED, "published")
    python = results.published("python-zo2", MEASURED, "measured")
    found = {}
    for cell in results.cells:
        record = cell.first
        projected = record.state == "projected"
        ours = cell.median(METRICS.get(record.state, MEASURED))
        smallest = record.get("engine.gpu_memory", "smallest") == "smallest"
        if record.method != "zo2" or record.ablated or not smallest or record.shape not in published or ours is None:
            continue
        if record.shape not in found or (found[record.shape].projected and not projected):
            found[record.shape] = Row(text.model_size(record.model), published[record.shape], python.get(record.shape),
                                      ours, projected)
    return sorted(found.values(), key=lambda row: row.published)


def draw(results):
    table = rows(results)
    if not table:
        raise NothingToDraw("no record of zo2 at the smallest arena has device memory and a published figure beside it")
    series = [("ZO2, published", {"color": style.GREY}, lambda row: row.published),
              ("Python ZO2, measured", {"color": style.LIGHT}, lambda row: row.python),
              ("zo2, PROJECTED", {"facecolor": "white", "hatch": "////", "edgecolor": style.BLUE, "linewidth": 0.6},
               lambda row: row.ours if row.projected else None),
              ("zo2", {"color": style.BLUE}, lambda row: None if row.projected else row.ours)]
    series = [entry for entry in series if any(entry[2](row) is not None for row in table)]
    figure, axes = style.new_figure(2.5)
    axes = axes[0, 0]
    for index, row in enumerate(table):
        bars = [(look, value) for _, look, of in series if (value := of(row)) is not None]
        width = 0.84 / len(bars)
        for place, (look, value) in enumerate(bars):
            axes.bar(index + (place - (len(bars) - 1) / 2) * width, value / MIB, width, **look)
    values = [value for row in table for value in (row.published, row.python, row.ours) if value is not None]
    low, high = min(values) / MIB / 2, max(values) / MIB
    axes.set_yscale("log")
    axes.set_ylim(low, high * 1.15)
    ticks = [2**power for power in range(4, 22) if low <= 2**power <= high * 1.15]
    axes.set_yticks(ticks, [f"{tick // 1024} GiB" if tick >= 1024 else f"{tick} MiB" for tick in ticks])
    axes.minorticks_off()
    axes.set_xticks(range(len(table)), [f"{row.size}\n{row.published / row.ours:.1f}x" for row in table])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("OPT model; published over ours")
    axes.set_ylabel("GPU memory (log)")
    handles = [style.plt.Rectangle((0, 0), 1, 1, **look) for _, look, _ in series]
    columns = len(series) if len(series) < 4 else 2
    figure.legend(handles, [name for name, _, _ in series], loc="outside upper center", ncols=columns,
                  columnspacing=1.0, handletextpad=0.4, handlelength=1.2)
    return {"memory_table": figure}
