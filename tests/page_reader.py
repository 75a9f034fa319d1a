"""Reads an HTML page back: its tags, its text, its tables, and the numbers in a text."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Reads a page: its tags, its text, and its tables as (heading, group, row names) and column to text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.cells, self.head, self.group, self.columns, self.row = {}, "", "", [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Rows, columns and cells begin empty; a line break in a cell is a space."""
        self.tags.append((tag, dict(attrs)))
        if tag in ("meta", "br"):
            return self.handle_data(" ")
        self.open.append(tag)
        if tag == "h2":
            self.head = ""
        elif tag == "thead":
            self.columns, self.group = [], ""
        elif tag == "tr":
            self.row = []
        elif tag in ("th", "td"):
            self.row.append("")
        return None

    def handle_startendtag(self, tag, attrs):
        """A tag without content opens nothing, but counts."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        """A row is kept under its names once it is read; tags close in order."""
        assert self.open.pop() == tag
        if tag != "tr":
            return
        if "thead" in self.open:
            self.columns = self.row
        elif len(self.row) == 1:
            (self.group,) = self.row
        else:
            for column, cell in zip(self.columns, self.row, strict=True):
                names = self.row[:2] if self.columns[1] in ("arm", "estimator") else self.row[:1]
                self.cells[(self.head, self.group, *names, column)] = cell

    def handle_data(self, data):
        """Text belongs to what is open around it."""
        if "style" in self.open:
            return
        self.text += data
        if "h2" in self.open:
            self.head += data
        elif self.open and ("td" in self.open or "th" in self.open):
            self.row[-1] += data


def by_place(read: Page) -> dict[tuple[str, ...], str]:
    """Cells of an experiment's page, a group that has a title and remarks under its metric's name."""
    names = {key: re.search(r"\((\w+)\)", key[1]) for key in read.cells}
    return {(key[0], name[1] if (name := names[key]) else key[1], *key[2:]): read.cells[key] for key in names}


def numbers(cell: str) -> list[tuple[float, float]]:
    """Numbers of a text with half a unit of their last digit; a percentage as a share."""
    found = re.findall(r"([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?)(%?)", cell)
    return [
        (float(digits.replace(",", "")) / scale, 0.5 * 10 ** -len(digits.partition(".")[2]) / scale)
        for digits, sign in found
        for scale in [100 if sign else 1]
    ]


def assert_shows(cell: str, *values: float):
    """The cell's numbers are these, rounded; "< 0.001" stands for all p values below."""
    assert len(numbers(cell)) == len(values), cell
    for (shown, half), value in zip(numbers(cell), values, strict=True):
        below = shown == 0.001 and "< 0.001" in cell and value < 0.001
        assert below or abs(shown - value) <= half * (1 + 1e-9), (cell, values)
