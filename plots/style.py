"""One look for all figures: sized for a two-column paper, colours that the colour-blind can tell apart."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLUMN_INCHES = 3.33  # a column of a two-column paper
PAGE_INCHES = 7.0  # both columns

# Okabe and Ito's palette, black and grey beside it.
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GREY, LIGHT, BLACK = "#7F7F7F", "#CFCFCF", "#000000"
METHOD_COLOURS = {"zo2": BLUE, "resident": ORANGE, "mezo": GREY}

SMALL = 7  # points: tick labels, values, legends

plt.rcParams.update({
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#DDDDDD", "grid.linewidth": 0.5, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.0, "legend.frameon": False,
    "legend.handlelength": 1.6, "hatch.linewidth": 0.6, "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 300,
})


def new_figure(height_inches: float, rows: int = 1, columns: int = 1, width_inches: float = COLUMN_INCHES, **options):
    """A figure and the array of its axes, [rows][columns]."""
    return plt.subplots(rows, columns, figsize=(width_inches, height_inches), layout="constrained", squeeze=False,
                        **options)


def legend(figure, axes, columns: int) -> None:
    """One legend above all panels, each label once."""
    named = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            named.setdefault(label, handle)
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns, columnspacing=1.0,
                  handletextpad=0.5)


def save(figure, folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    for path in paths:
        # Without dates, so that equal records make equal files.
        figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    plt.close(figure)
    return paths
