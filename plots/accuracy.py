"""What fine-tuning gained: accuracy (or F1) on the evaluation split with its standard error, and the way there.

On the left a row for each cell that was tested, named by the settings in which the cells differ (what nearly all have
in common goes without saying); several repeats, or cells that differ in nothing but seeds, are a row with a mark each.
On the right the losses on the dev split in the row's colour; the mark is the step whose weights were kept. A run that
went far astray is a number at the edge, and its losses leave the figure at the top.
"""

import itertools
import statistics
from collections import Counter

from plots import style, text
from plots.records import NothingToDraw, OBSERVATION

SEEDS = {"method.noise_seed", "data.seed"}
# Where weights lie is no numerics; paths are names of model and task, which every row has.
UNTOLD = SEEDS | (OBSERVATION - {"train.steps"}) | {"model.path", "data.path", "engine.device"}
COLOURS = [style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.SKY, style.VERMILION, style.BLACK, style.GREY]
LINES = ["-", "--", ":"]
METRICS = {"test_accuracy": "accuracy", "test_f1": "F1"}
USUAL = 0.75  # the share of cells whose value of a setting goes without saying
ASTRAY = 10  # points from the median at which a mark is left out of the scale


def metric(records) -> str:
    return next((name for name in METRICS if any(record.number(name) is not None for record in records)), "")


def rows(results) -> dict[str, list]:
    """{name: tested records}, in the order of the cells; of the model and task that come first."""
    records = [record for cell in results.cells for record in cell.repeats]
    name = metric(records)
    tested = [record for record in records if record.number(name) is not None]
    tested = [record for record in tested if _task(record) == _task(tested[0])]
    if not tested:
        raise NothingToDraw("no record has test_accuracy or test_f1: train on a task (docs/tasks.md)")
    keys = {key for record in tested for key in record.config} - UNTOLD
    differing = sorted(key for key in keys if len({str(record.get(key)) for record in tested}) > 1)
    usual = {}
    for key in differing:
        (value, count), *_ = Counter(str(record.get(key)) for record in tested).most_common()
        if count > USUAL * len(tested):
            usual[key] = value
    found = {}
    for record in tested:
        told = [_told(key, record.get(key)) for key in differing if str(record.get(key)) != usual.get(key)]
        found.setdefault(", ".join(told) or record.method, []).append(record)
    return found


def _task(record) -> tuple:
    return record.model, record.get("data.path")


def _told(key: str, value) -> str:
    plain = key in ("method.name", "method.rounding", "engine.dtype")
    return text.value(key, value) if plain else text.setting(key, value)


def dev_losses(record) -> list[tuple[int, float]]:
    return [(sample["step"], float(sample["loss"])) for sample in record.samples() if sample["kind"] == "eval"]


def draw(results):
    found = rows(results)
    name = metric([record for records in found.values() for record in records])
    median = statistics.median(100 * record.number(name) for records in found.values() for record in records)
    figure, ((left, right),) = style.new_figure(1.0 + 0.2 * len(found), columns=2, width_inches=style.PAGE_INCHES)
    looks = itertools.cycle((colour, line) for line in LINES for colour in COLOURS)
    losses = []
    for at, (records, (colour, line)) in enumerate(zip(found.values(), looks)):
        for offset, record in enumerate(records):
            value = 100 * record.number(name)
            if value < median - ASTRAY:
                left.annotate(f"{value:.1f}", (0.02, at), xycoords=("axes fraction", "data"), va="center", color=colour)
            else:
                left.errorbar(value, at + 0.22 * (offset - (len(records) - 1) / 2),
                              xerr=100 * (record.number(f"{name}_error") or 0), fmt="o", markersize=3, color=colour,
                              elinewidth=0.8)
            curve = dev_losses(record)
            losses += [loss for _, loss in curve]
            right.plot([step for step, _ in curve], [loss for _, loss in curve], line, color=colour)
            kept = [point for point in curve if point[0] == record.number("selected_step")]
            right.plot([step for step, _ in kept], [loss for _, loss in kept], "o", markersize=3, color=colour)
    left.set_yticks(range(len(found)), found)
    left.invert_yaxis()
    left.grid(axis="x")
    left.grid(visible=False, axis="y")
    n = next(iter(found.values()))[0].number("test_examples")
    left.set_xlabel(f"{METRICS[name]}, % (+- standard error{f', n = {n:.0f}' if n else ''})")
    if losses:
        low, middle = min(losses), statistics.median(losses)
        right.set_ylim(low - 0.1 * (middle - low) - 1e-3, min(max(losses), middle + 2 * (middle - low)) + 1e-3)
    right.set_xlabel("step")
    right.set_ylabel("loss on the dev split")
    return {"accuracy": figure}
