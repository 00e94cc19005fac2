"""Throughput against model size, with what the link and the arithmetic units allow at most.

Above tokens a second, both axes log; below the same over the link's bound, which shows the differences. The bounds come
from a hardware description: the link moves a step's weights once, one way; the products are two passes over the
weights, attention and all else left out. They are drawn for records of a GPU that the description is about.
"""

from plots import intervals, series, style, text
from plots.records import Cell, NothingToDraw

METRIC = "tokens_per_s"
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
OTHERS = {"python-zo2": ("Python ZO2", style.VERMILION, "v"), "python-mezo": ("Python MeZO", style.BLACK, "^")}
BOUNDS = {"link": "--", "products": ":"}
MOST_LEVEL_LABELS = 7  # of model sizes beside each other


def series_by_shape(results) -> dict[tuple, dict[str, dict[str, Cell]]]:
    """{(dtype, batch, seq, tied): {label: {model: cell}}} of what ran unablated, in series of two sizes or more."""
    shapes = {}
    for cell in results.measured(METRIC):
        record = cell.first
        if "parameters" in record.metrics and not record.ablated:
            shapes.setdefault(record.shape[1:], {}).setdefault(series.label(record), {}).setdefault(record.model, cell)
    kept = {shape: {name: cells for name, cells in curves.items() if len(cells) > 1}
            for shape, curves in shapes.items()}
    return {shape: curves for shape, curves in kept.items() if curves}


def hardware_of(results, records) -> dict | None:
    """The description of the GPU that all these records come from."""
    names = {record.get("engine.hardware") for record in records}
    if len(names) != 1 or any(record.device != "cuda" for record in records):
        return None
    hardware = results.hardware.get(names.pop())
    return hardware if hardware and all(hardware["name"].split()[0] in record.gpu for record in records) else None


def rooflines(records, hardware) -> dict[str, dict[int, float]]:
    """{"link" or "products": {parameters: tokens a second}}, at the sizes whose records stream all weights."""
    bounds = {name: {} for name in BOUNDS}
    for record in records:
        streamed = record.metrics.get("upload_bytes_per_step")
        if record.method != "zo2" or not streamed or record.metrics.get("resident_bytes", 0) > 0:
            continue
        passes = 2 * record.get("method.perturbations", 1)
        flops_per_token = 2 * passes * streamed / BYTES[record.get("engine.dtype")]
        parameters = record.metrics["parameters"]
        bounds["link"][parameters] = record.tokens_per_step / streamed * hardware["upload_gbps"] * 1e9
        bounds["products"][parameters] = hardware["gemm_tflops"] * 1e12 / flops_per_token
    return {name: dict(sorted(points.items())) for name, points in bounds.items() if points}


def _curves(axes, curves, looks, scale):
    for name, (colour, marker) in looks.items():
        points = sorted(((cell.first.metrics["parameters"], cell) for cell in curves[name].values()),
                        key=lambda point: point[0])
        points = [(x, cell) for x, cell in points if x in scale]
        axes.plot([x for x, _ in points], [cell.median(METRIC) / scale[x] for x, cell in points], marker + "-",
                  markersize=3.5, color=colour, label=name)
        for x, cell in points:
            intervals.draw(axes, x, [value / scale[x] for value in cell.values(METRIC)])


def _others(axes, results, shape, parameters, scale):
    for system, (name, colour, marker) in OTHERS.items():
        known = results.published(system, METRIC, "measured")
        points = [(x, known[model, *shape] / scale[x]) for model, x in parameters.items()
                  if (model, *shape) in known and x in scale]
        if points:
            axes.plot(*zip(*points), marker=marker, linestyle="none", markersize=4, markerfacecolor="white",
                      color=colour, label=name)


def _draw_shape(results, shape, curves):
    records = [cell.first for cells in curves.values() for cell in cells.values()]
    parameters = {record.model: record.metrics["parameters"]
                  for record in sorted(records, key=lambda record: record.metrics["parameters"])}
    hardware = hardware_of(results, records)
    bounds = rooflines(records, hardware) if hardware else {}
    scales = [dict.fromkeys(parameters.values(), 1)] + ([bounds["link"]] if bounds else [])
    figure, axes = style.new_figure(4.2 if bounds else 2.8, len(scales), 1, sharex=True)
    looks = series.looks(records)
    for axis, scale in zip(axes[:, 0], scales):
        for name, points in bounds.items():
            shown = {x: bound / scale[x] for x, bound in points.items() if x in scale}
            axis.plot(shown.keys(), shown.values(), color="#555555", linestyle=BOUNDS[name], linewidth=0.9,
                      label=f"bound: {name}")
        _curves(axis, curves, looks, scale)
        _others(axis, results, shape, parameters, scale)
    upper, lower = axes[0, 0], axes[-1, 0]
    upper.set_xscale("log")
    upper.set_yscale("log")
    low, high = upper.get_ylim()
    ticks = [base * 10.0**power for power in range(-2, 8) for base in (1, 3) if low <= base * 10.0**power <= high]
    upper.set_yticks(ticks, [text.rate(tick) for tick in ticks])
    upper.set_ylim(low, high)
    upper.set_ylabel("tokens/s")
    if bounds:
        lower.set_ylabel("over the link's bound")
        lower.set_ylim(bottom=0)
    for axis in axes[:, 0]:
        axis.minorticks_off()
    crowded = len(parameters) > MOST_LEVEL_LABELS
    lower.set_xticks(list(parameters.values()), [text.model_size(model) for model in parameters],
                     **({"rotation": 45} if crowded else {}))
    dtype, batch, seq, _ = shape
    lower.set_xlabel(f"OPT model; {dtype}, batch {batch}, sequence {seq:,}")
    style.legend(figure, axes, columns=2)
    return figure


def draw(results):
    shapes = series_by_shape(results)
    if not shapes:
        raise NothingToDraw(f"no two records of one method have {METRIC} at two model sizes and else the same shape")
    if len(shapes) == 1:
        return {"throughput": _draw_shape(results, *next(iter(shapes.items())))}
    return {f"throughput_{dtype}_batch{batch}_seq{seq}{'' if tied else '_untied'}":
            _draw_shape(results, (dtype, batch, seq, tied), curves)
            for (dtype, batch, seq, tied), curves in shapes.items()}
