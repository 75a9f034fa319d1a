"""Reads figures of lifts back: dots, bars, and heads at the edges."""

from matplotlib.markers import CARETLEFT, CARETRIGHT


def dots(panel) -> list[float]:
    """Lifts that are drawn as dots, from the top."""
    found = [(line.get_ydata()[0], line.get_xdata()[0]) for line in panel.lines if line.get_marker() == "o"]
    return [x for _, x in sorted(found)]


def bars(panel, marker: str) -> list[tuple[float, float]]:
    """Ends of intervals drawn with a marker, from the top."""
    found = [line for line in panel.lines if line.get_marker() == marker and len(set(line.get_ydata())) == 1]
    return [tuple(line.get_xdata()) for line in sorted(found, key=lambda line: line.get_ydata()[0])]


def arrows(panel) -> set[tuple[float, str]]:
    """Arrow heads: row of dots from the top, and the edge at which they stand."""
    heads = [line for line in panel.lines if line.get_marker() in (CARETLEFT, CARETRIGHT)]
    rows = sorted({line.get_ydata()[0] for line in panel.lines if line.get_marker() == "o"})
    left, right = panel.get_xlim()
    for head in heads:
        assert head.get_xdata()[0] == (left if head.get_marker() == CARETLEFT else right)
    return {(rows.index(h.get_ydata()[0]), "<" if h.get_marker() == CARETLEFT else ">") for h in heads}
