"""What fine-tuning gained: accuracy on the evaluation split with its standard error, and the way there.

On the left a row for each cell that was tested, named by the settings in which the cells differ; several repeats, or
cells that differ in nothing but seeds, are a row with a mark each. On the right the losses on the dev split in the
row's colour; the mark is the step whose weights were kept.
"""

import itertools

from plots import style, text
from plots.records import NothingToDraw, OBSERVATION

SEEDS = {"method.noise_seed", "data.seed"}
# Where weights lie is no numerics; paths are names of model and task, which every row has.
UNTOLD = SEEDS | (OBSERVATION - {"train.steps"}) | {"model.path", "data.path", "engine.device"}
COLOURS = [style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.SKY, style.VERMILION, style.BLACK, style.GREY]
LINES = ["-", "--", ":"]


def rows(results) -> dict[str, list]:
    """{name: tested records}, in the order of the cells; of the model and task that come first."""
    tested = [record for cell in results.cells for record in cell.repeats if record.number("test_accuracy") is not None]
    tested = [record for record in tested if _task(record) == _task(tested[0])]
    if not tested:
        raise NothingToDraw("no record has test_accuracy: train on a task (docs/tasks.md)")
    keys = {key for record in tested for key in record.config} - UNTOLD
    differing = sorted(key for key in keys if len({str(record.get(key)) for record in tested}) > 1)
    found = {}
    for record in tested:
        name = ", ".join(_told(key, record.get(key)) for key in differing) or record.method
        found.setdefault(name, []).append(record)
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
    figure, ((left, right),) = style.new_figure(1.0 + 0.2 * len(found), columns=2, width_inches=style.PAGE_INCHES)
    looks = itertools.cycle((colour, line) for line in LINES for colour in COLOURS)
    for at, ((name, records), (colour, line)) in enumerate(zip(found.items(), looks)):
        for offset, record in enumerate(records):
            left.errorbar(100 * record.number("test_accuracy"), at + 0.22 * (offset - (len(records) - 1) / 2),
                          xerr=100 * (record.number("test_accuracy_error") or 0), fmt="o", markersize=3, color=colour,
                          elinewidth=0.8)
            curve = dev_losses(record)
            right.plot([step for step, _ in curve], [loss for _, loss in curve], line, color=colour)
            kept = [point for point in curve if point[0] == record.number("selected_step")]
            right.plot([step for step, _ in kept], [loss for _, loss in kept], "o", markersize=3, color=colour)
    left.set_yticks(range(len(found)), found)
    left.invert_yaxis()
    left.grid(axis="x")
    left.grid(visible=False, axis="y")
    n = next(iter(found.values()))[0].number("test_examples")
    left.set_xlabel(f"accuracy, % (+- standard error{f', n = {n:.0f}' if n else ''})")
    right.set_xlabel("step")
    right.set_ylabel("loss on the dev split")
    return {"accuracy": figure}
