"""python -m plots DIR [--reference FOLDER]: every figure that the records of DIR allow, as PNG and PDF in DIR/plots."""

import argparse
import pathlib
import sys

from plots import memory_table, quick_throughput, style
from plots.records import read_figures, read_records

FIGURES = {"memory_table": memory_table, "quick_throughput": quick_throughput}


def main(arguments: list[str] | None = None) -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(prog="python -m plots", description=__doc__)
    parser.add_argument("dir", type=pathlib.Path, help="what `zo2 run --out` wrote")
    parser.add_argument("--reference", type=pathlib.Path, default=here.parent / "experiments" / "reference",
                        help="folder of published figures")
    options = parser.parse_args(arguments)
    try:
        records = read_records(options.dir)
    except (OSError, ValueError) as error:
        print(f"plots: {error}", file=sys.stderr)
        return 2
    figures = read_figures(options.reference)
    out = options.dir / "plots"
    for name, module in FIGURES.items():
        figure = module.draw(records, figures)
        if figure is None:
            print(f"plots: no {name}: no record holds what it shows", file=sys.stderr)
            continue
        for path in style.save(figure, out, name):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
