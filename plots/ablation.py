"""Ablation bars: for every key of the configuration that cells differ in and in nothing else, speed and device memory.

A figure a key, a pair of panels a group of cells that are else equal and of one sweep: speeds of different days and
machines differ by more than ideas do. See intervals.py for what marks the spread.
"""

import textwrap

from plots import bars, style, text
from plots.records import OBSERVATION, NothingToDraw

# Sizes and seeds are no ablations: throughput.py and memory_table.py show sizes.
NOT_ABLATED = OBSERVATION | {"model.name", "model.path", "data.seed", "data.path", "method.noise_seed"}
# In every title, or of no effect on what is shown.
NOT_TOLD_APART = {"model.name", "model.path", "engine.dtype", "data.batch", "data.seq", "engine.host_weights"}
BAR_INCHES = 0.17
TITLE_INCHES = 0.13
TITLE_LETTERS = 56


def groups_by_key(results) -> dict[str, list[list]]:
    """{key: [cells that differ in this key only, at two values or more]}, cells in the order of the records."""
    cells = results.measured(bars.SPEED)
    keys = sorted({key for cell in cells for key in cell.first.config} - NOT_ABLATED)
    found = {}
    for key in keys:
        groups = {}
        for cell in cells:
            record = cell.first
            groups.setdefault((record.sweep, record.setting({key})), {}).setdefault(str(record.get(key)), cell)
        several = [_ordered(list(group.values()), key) for group in groups.values() if len(group) > 1]
        if several:
            found[key] = several
    return found


def _ordered(cells, key):
    """Numbers by size, words in the order of the records."""
    values = [cell.first.get(key) for cell in cells]
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return sorted(cells, key=lambda cell: cell.first.get(key)) if numbers else cells


def titles_of(key, groups) -> list[str]:
    """What the cells of each group have in common: the shape, and what tells the groups from each other."""
    firsts = [dict(cells[0].first.setting({key} | NOT_TOLD_APART)) for cells in groups]
    varying = sorted({name for first in firsts for name in first
                      if len({other.get(name) for other in firsts}) > 1})
    return [", ".join([text.shape(cells[0].first, without=key),
                       *(text.setting(name, cells[0].first.get(name)) for name in varying)]) for cells in groups]


def _draw_key(key, groups):
    heights = [len(cells) * BAR_INCHES for cells in groups]
    titles = [textwrap.fill(title, TITLE_LETTERS) for title in titles_of(key, groups)]
    title_lines = sum(1 + title.count("\n") for title in titles)
    memories = [bars.memory_metric(cells) for cells in groups]
    columns = 2 if any(memories) else 1
    height = sum(heights) + TITLE_INCHES * (title_lines + len(groups)) + 0.25
    figure, axes = style.new_figure(height, len(groups), columns, height_ratios=heights)
    for row, cells, memory, title in zip(axes, groups, memories, titles):
        bars.draw(row[0], cells, bars.SPEED, room=0.45)
        row[0].set_yticks(range(len(cells)), [text.value(key, cell.first.get(key)) for cell in cells])
        row[0].set_title(title, fontsize=style.SMALL, loc="left", pad=3)
        if memory:
            bars.draw(row[1], cells, memory, room=0.45)
            row[1].set_yticks([])
        elif columns == 2:
            row[1].axis("off")
    axes[-1, 0].set_xlabel(bars.TITLES[bars.SPEED])
    if memories[-1]:
        axes[-1, 1].set_xlabel(bars.TITLES[memories[-1]])
    figure.supylabel(text.key(key), fontsize=8)
    return figure


def draw(results):
    found = groups_by_key(results)
    if not found:
        raise NothingToDraw(f"no two cells with {bars.SPEED} differ in one key only")
    return {f"ablation_{key.removesuffix('.name').split('.')[-1]}": _draw_key(key, groups)
            for key, groups in found.items()}
