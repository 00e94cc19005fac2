"""One look for all figures: sized for a column of a two-column paper, colours that the colour-blind can tell apart."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLUMN_INCHES = 3.35  # a column of a two-column paper

# Okabe and Ito's palette.
BLUE, SKY, GREEN, ORANGE, VERMILION, GREY = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#7F7F7F"
METHOD_COLOURS = {"zo2": BLUE, "resident": ORANGE, "mezo": GREY}

plt.rcParams.update({
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#DDDDDD", "grid.linewidth": 0.5,
    "legend.frameon": False, "hatch.linewidth": 0.6, "pdf.fonttype": 42, "savefig.dpi": 300,
})


def new_figure(height_inches: float, columns: int = 1):
    return plt.subplots(1, columns, figsize=(COLUMN_INCHES, height_inches), layout="constrained")


def save(figure, folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    for path in paths:
        # Without dates, so that equal records make equal files.
        figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    plt.close(figure)
    return paths
