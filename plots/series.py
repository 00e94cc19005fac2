"""Series of records over model sizes: how they are called and what they look like, the same in every figure."""

from plots import style

ZO2_COLOURS = [style.BLUE, style.SKY, style.GREEN, style.PURPLE]
MARKERS = ["o", "s", "D", "P", "X", "h"]


def label(record) -> str:
    """What a record is, beside its model: "zo2, K = 8, staged"."""
    if record.method != "zo2":
        return record.method
    parts = ["zo2", f"K = {record.get('method.writeback_every', 1)}"]
    if record.get("engine.gpu_memory", "smallest") != "smallest":
        parts.append("more memory")
    if record.get("engine.host", "registered") != "registered":
        parts.append(record.get("engine.host"))
    return ", ".join(parts)


def looks(records) -> dict[str, tuple[str, str]]:
    """{label: (colour, marker)}, the baselines last."""
    names = sorted({label(record) for record in records}, key=lambda name: (not name.startswith("zo2"), name))
    ours = [name for name in names if name.startswith("zo2")]
    return {name: (ZO2_COLOURS[ours.index(name) % len(ZO2_COLOURS)] if name in ours
                   else style.METHOD_COLOURS.get(name, style.GREY), MARKERS[place % len(MARKERS)])
            for place, name in enumerate(names)}
