"""One traced step as a Gantt chart: what the link and the device did when, the whole step above and a part below."""

from plots import style, text
from plots.records import NothingToDraw

LANES = ["upload", "compute", "download"]  # in order of tid, as src/runtime/trace.cpp writes them
COLOURS = {"upload": style.BLUE, "download": style.SKY, "visit": style.ORANGE, "linear": style.GREEN,
           "attention": style.VERMILION, "head": style.PURPLE}
OTHER = ("other", style.GREY)
PIXELS = 2000  # operations that are closer than this part of the picture are drawn as one
PART = 0.04  # of the step, in the lower panel


def step_of(events: list[dict]) -> list[tuple]:
    """(lane, kind, begin_ms, end_ms) of the last traced step, from its first operation on."""
    last = max(event["args"]["step"] for event in events)
    spans = [(event["tid"], event["name"], event["ts"] / 1e3, (event["ts"] + event["dur"]) / 1e3)
             for event in events if event["args"]["step"] == last]
    first = min(begin for _, _, begin, _ in spans)
    return [(lane, kind, begin - first, end - first) for lane, kind, begin, end in spans]


def joined(intervals: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """The intervals with those that are closer than `gap` made one, as (begin, length)."""
    result = []
    for begin, end in sorted(intervals):
        if result and begin - result[-1][1] <= gap:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([begin, end])
    return [(begin, end - begin) for begin, end in result]


def _panel(axes, spans, begin_ms, end_ms):
    rows = {}
    for lane, kind, begin, end in spans:
        if end > begin_ms and begin < end_ms:
            name, _ = (kind, None) if kind in COLOURS else OTHER
            rows.setdefault((lane, name), []).append((max(begin, begin_ms), min(end, end_ms)))
    for (lane, name), intervals in rows.items():
        axes.broken_barh(joined(intervals, (end_ms - begin_ms) / PIXELS), (lane - 0.38, 0.76), linewidth=0,
                         facecolors=COLOURS.get(name, OTHER[1]))
    axes.set_xlim(begin_ms, end_ms)
    axes.set_ylim(len(LANES) - 0.5, -0.5)
    axes.set_yticks(range(len(LANES)), LANES)
    axes.tick_params(axis="y", length=0)
    axes.grid(False)


def _draw_record(record):
    spans = step_of(record.trace())
    end = max(span[3] for span in spans)
    figure, axes = style.new_figure(2.3, 2, 1, style.PAGE_INCHES)
    whole, part = axes[:, 0]
    middle = end / 2
    _panel(whole, spans, 0, end)
    _panel(part, spans, middle, middle + end * PART)
    whole.axvspan(middle, middle + end * PART, facecolor="none", edgecolor="black", linewidth=0.8)
    every = record.get("method.writeback_every", 1)
    whole.set_title(f"{text.shape(record)}, {record.method}, K = {every}: one step, and the part in the frame",
                    loc="left")
    part.set_xlabel("ms since the step's first operation")
    present = {kind if kind in COLOURS else OTHER[0] for _, kind, _, _ in spans}
    looks = [(name, colour) for name, colour in [*COLOURS.items(), OTHER] if name in present]
    figure.legend([style.plt.Rectangle((0, 0), 1, 1, color=colour) for _, colour in looks],
                  [name for name, _ in looks], loc="outside lower center", ncols=len(looks), handletextpad=0.5)
    return figure


def draw(results):
    traced = [next(record for record in cell.repeats if record.trace_path()) for cell in results.cells
              if any(record.trace_path() for record in cell.repeats)]
    if not traced:
        raise NothingToDraw("no record has a trace: run a cell with -S engine.trace=2")
    names = ["overlap"] if len(traced) == 1 else [f"overlap_{record.folder.parent.name}" for record in traced]
    return {name: _draw_record(record) for name, record in zip(names, traced)}
