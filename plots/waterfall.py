"""The waterfall: from one scheme to another an idea at a time, and what each idea is worth in device memory and speed.

A chain is three cells or more in a row, as the manifest orders them, each of which changes one key of the one before.
Dotted outlines show what a step took off.
"""

from plots import bars, style, text
from plots.records import NothingToDraw


def changed(before, after) -> list[str]:
    """The keys that two records differ in."""
    old, new = dict(before.setting()), dict(after.setting())
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def chains(results) -> list[list]:
    """Cells in a row whose neighbours differ in one key, which is not the same key all along (an ablation)."""
    found, chain, keys = [], [], []
    for cell in [*results.measured(bars.SPEED), None]:
        step = changed(chain[-1].first, cell.first) if chain and cell else []
        if len(step) == 1 and not step[0].startswith("model."):
            chain.append(cell)
            keys += step
            continue
        if len(chain) > 2 and len(set(keys)) > 1 and bars.memory_metric(chain):
            found.append(chain)
        chain, keys = [cell], []
    return found


def labels(chain) -> list[str]:
    """What each cell changes: "slots: 3 to 4"."""
    said = ["start"]
    for before, after in zip(chain, chain[1:]):
        (key,) = changed(before.first, after.first)
        old, new = (text.value(key, cell.first.get(key)) for cell in (before, after))
        said.append(f"{text.key(key)}: {old} to {new}")
    return said


def draw(results):
    found = chains(results)
    if not found:
        raise NothingToDraw("no three cells in a row change one key each (see experiments/waterfall.yaml)")
    heights = [len(chain) * 0.19 for chain in found]
    figure, axes = style.new_figure(sum(heights) + 0.4 * len(found), len(found), 2, style.PAGE_INCHES,
                                    height_ratios=heights)
    for (left, right), chain in zip(axes, found):
        for axis, metric in ((left, bars.memory_metric(chain)), (right, bars.SPEED)):
            bars.draw(axis, chain, metric, room=0.25, first_colour=style.GREY, steps=True)
            axis.set_xlabel(bars.TITLES[metric])
        left.set_title(text.shape(chain[0].first), loc="left", fontsize=style.SMALL)
        left.set_yticks(range(len(chain)), labels(chain))
        right.set_yticks([])
    return {"waterfall": figure}
