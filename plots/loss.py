"""Loss curves of methods that train the same model on the same data with the same numbers, and their differences.

The lower panel shows each curve less zo2's: resident runs of equal write-back and tiles are equal to the last bit, the
textbook baseline drifts (docs/design.md).
"""

from plots import style, text
from plots.records import NothingToDraw

ORDER = ["resident", "mezo", "zo2"]  # as they are drawn: equal curves lie on each other, the widest below
WIDTHS = {"resident": 2.6, "mezo": 1.2, "zo2": 1.0}
PANELS = 3  # beside each other
# What may differ between two curves that belong together.
FREE = {"method.name", "method.writeback_every", "engine.tile", "engine.slots", "engine.overlap", "engine.gpu_memory",
        "engine.host", "engine.embedding", "engine.head", "engine.granularity", "engine.noise_buffer",
        "engine.device", "train.objective"}


def curve(record) -> tuple[list[int], list[float]]:
    """Steps, and the mean of the losses of a step's directions."""
    steps, losses = [], []
    for sample in record.samples():
        if sample["kind"] == "step":
            both = [float(loss) for side in ("loss_plus", "loss_minus") for loss in _list(sample[side])]
            steps.append(sample["step"])
            losses.append(sum(both) / len(both))
    return steps, losses


def _list(value):
    return value if isinstance(value, list) else [value]


def groups(results) -> list[dict[str, object]]:
    """[{method: record}] of two methods or more, zo2 among them; the first repeat of each."""
    found = {}
    for cell in results.cells:
        record = cell.first
        if record.state in ("ok", "throttled") and record.method in ORDER and not record.aliased:
            found.setdefault(record.setting(FREE), {}).setdefault(record.method, record)
    return [group for group in found.values() if len(group) > 1 and "zo2" in group]


def _panel(upper, lower, group):
    curves = {method: curve(group[method]) for method in ORDER if method in group}
    base = dict(zip(*curves["zo2"]))
    for method, (steps, losses) in curves.items():
        look = {"color": style.METHOD_COLOURS[method], "linewidth": WIDTHS[method]}
        upper.plot(steps, losses, label=method, **look)
        common = [(step, loss - base[step]) for step, loss in zip(steps, losses) if step in base]
        if common:
            lower.plot(*zip(*common), **look)
    record = group["zo2"]
    upper.set_title(f"{text.model(record.model)}, {record.get('engine.dtype')}", fontsize=style.SMALL)
    lower.set_xlabel("step")
    lower.xaxis.get_major_locator().set_params(integer=True)
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    lower.yaxis.get_offset_text().set_fontsize(style.SMALL)


def _draw_groups(shown):
    width = style.COLUMN_INCHES if len(shown) == 1 else style.PAGE_INCHES
    figure, axes = style.new_figure(2.5, 2, len(shown), width, sharex="col", height_ratios=[2, 1])
    for column, group in enumerate(shown):
        _panel(axes[0, column], axes[1, column], group)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("minus zo2's")
    style.legend(figure, axes, columns=len(ORDER))
    return figure


def draw(results):
    found = groups(results)
    if not found:
        raise NothingToDraw("no two methods, zo2 among them, trained the same model on the same data")
    pages = [found[at:at + PANELS] for at in range(0, len(found), PANELS)]
    return {f"loss_{number}" if len(pages) > 1 else "loss": _draw_groups(page) for number, page in enumerate(pages, 1)}
