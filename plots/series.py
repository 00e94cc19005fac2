"""Series of records over model sizes: how they are called and what they look like, the same in every figure."""

import itertools

from plots import style

OTHER_COLOURS = [style.VERMILION, style.BLACK, style.GREEN]
ZO2_COLOURS = [style.BLUE, style.SKY, style.GREEN, style.PURPLE]
MARKERS = ["o", "s", "D", "P", "X", "h"]


def label(record) -> str:
    """What a record is, beside its model: "zo2, K = 8, staged"."""
    if record.system != "zo2":
        return record.system
    parts = ["zo2", f"K = {record.get('method.writeback_every', 1)}"]
    if record.get("engine.gpu_memory", "smallest") != "smallest":
        parts.append("more memory")
    if record.get("engine.host", "registered") != "registered":
        parts.append(record.get("engine.host"))
    return ", ".join(parts)


def looks(records) -> dict[str, tuple[str, str]]:
    """{label: (colour, marker)}, the baselines last."""
    names = sorted({label(record) for record in records}, key=lambda name: (not name.startswith("zo2, "), name))
    ours, others = itertools.cycle(ZO2_COLOURS), itertools.cycle(OTHER_COLOURS)
    colours = [next(ours) if name.startswith("zo2, ") else style.METHOD_COLOURS.get(name) or next(others)
               for name in names]
    return dict(zip(names, zip(colours, itertools.cycle(MARKERS))))
