"""python -m plots DIR...: every figure that the records of these folders allow, as PNG and PDF.

Standard output has the paths that were written; standard error says which figures were not made, and why.
"""

import argparse
import pathlib
import sys

from plots import ablation, accuracy, forecast, loss, memory_table, overlap, style, throughput, waterfall
from plots.records import NothingToDraw, Results, read_figures, read_hardware, read_records

FIGURES = {"memory_table": memory_table, "throughput": throughput, "waterfall": waterfall, "ablation": ablation,
           "overlap": overlap, "loss": loss, "forecast": forecast, "accuracy": accuracy}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    experiments = pathlib.Path(__file__).resolve().parent.parent / "experiments"
    parser = argparse.ArgumentParser(prog="python -m plots", description=__doc__)
    parser.add_argument("dirs", type=pathlib.Path, nargs="+", metavar="DIR", help="what `zo2 run --out` wrote")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the figures; default DIR/plots")
    parser.add_argument("--only", action="append", choices=FIGURES, metavar="NAME",
                        help=f"this figure; may be given often. One of {', '.join(FIGURES)}")
    parser.add_argument("--reference", type=pathlib.Path, default=experiments / "reference",
                        help="folder of published figures")
    parser.add_argument("--hardware", type=pathlib.Path, default=experiments / "hardware",
                        help="folder of hardware descriptions")
    options = parser.parse_args(arguments)
    if options.out is None:
        if len(options.dirs) > 1:
            parser.error("the figures of several folders need a place: name it with --out")
        options.out = options.dirs[0] / "plots"
    return options


def main(arguments: list[str] | None = None) -> int:
    """0 fine, 1 a figure that --only names was not made, 2 bad usage or input."""
    options = parse(arguments)
    missing = False
    try:
        results = Results([record for folder in options.dirs for record in read_records(folder)],
                          read_figures(options.reference), read_hardware(options.hardware))
        for name in options.only or FIGURES:
            try:
                drawn = FIGURES[name].draw(results)
            except NothingToDraw as reason:
                print(f"plots: no {name}: {reason}", file=sys.stderr)
                missing = True
                continue
            for file, figure in drawn.items():
                for path in style.save(figure, options.out, file):
                    print(path)
    except (OSError, ValueError) as error:
        print(f"plots: {error}", file=sys.stderr)
        return 2
    return 1 if missing and options.only else 0


if __name__ == "__main__":
    sys.exit(main())
