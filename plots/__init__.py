"""Figures from records: `python -m plots DIR` reads DIR/cells and writes DIR/plots.

One module a figure, each with `draw(records, figures) -> matplotlib figure or None` (None: the records do not hold
what it shows). Nothing is measured here; see records.py for what is read.
"""
