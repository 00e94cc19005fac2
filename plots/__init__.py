"""Figures from records: `python -m plots DIR` reads DIR/cells and writes DIR/plots.

One module a figure, each with `draw(results) -> {name: matplotlib figure}`, which raises NothingToDraw with the reason
where the records do not hold what it shows. Nothing is measured here; see records.py for what is read.
"""
