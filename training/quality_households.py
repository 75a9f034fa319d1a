"""Households on the quality page: history, recommended and bought side by side; plain HTML, no script.

In: records of `training.households`. Out: the text of a section, and the styles that it needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Record = Mapping[str, Any]

STYLE = """
.household { margin-top: 1.4rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
.household h3 { margin: 0 0 .8rem; font-size: 1rem; }
.household h3 small { display: block; }
.columns { display: grid; gap: 1.2rem; }
.columns { grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
.columns h4 { margin: 0 0 .4rem; color: var(--pale); font-size: .82rem; font-weight: 600; }
.columns ol { margin: 0; padding: 0; list-style: none; font-size: .86rem; line-height: 1.35; }
.columns li { display: flex; gap: .6rem; justify-content: space-between; padding: .3rem .45rem;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.columns li.hit { background: var(--wash); color: var(--strong); font-weight: 600; }
.columns li span { flex: none; color: var(--pale); font-size: .78rem; font-weight: 400; white-space: nowrap; }
.columns li.hit span { color: var(--strong); }
.columns .past li, .columns .past span { display: block; }
.columns p { margin: .4rem 0 0; font-size: .8rem; }
"""
RULE = (
    "Chosen by a rule, not by hand: the households at the {quantiles} percentile of recall@10 on all "
    "purchases (cut {cut}), among those who bought at least {least} items in the two weeks, something new "
    "among them. Marked: what was recommended and then bought. Many items share a title."
)


def households_section(households: Sequence[Record]) -> str:
    """The section of all households; nothing where there are none."""
    if not households:
        return ""
    percent = [f"{100 * each['quantile']:.0f}th" for each in households]
    quantiles = " and ".join(filter(None, (", ".join(percent[:-1]), percent[-1])))
    rule = RULE.format(quantiles=quantiles, cut=households[0]["cut"], least=households[0]["least_bought"])
    blocks = "".join(_household(each) for each in households)
    return f"<section><h2>A few households</h2><p>{escape(rule)}</p>{blocks}</section>\n"


def _household(record: Record) -> str:
    ten, new = (record["recommended"][task] for task in ("all", "discover"))
    hits = sum(line["bought"] for line in ten)
    head = (
        f"Household {escape(str(record['user_id']))}"
        f"<small>{100 * record['quantile']:.0f}th percentile: {hits} of the first {len(ten)} bought, "
        f"of {record['n_bought']} items in all</small>"
    )
    left = record["n_bought"] - len(record["bought"])
    again = f"{record['n_again']} of {record['n_bought']} had been bought before."
    more = f"And {left} more; {again}" if left else again
    columns = "".join(
        (
            _column("Bought most, of late", (_past(line) for line in record["history"]),
                    f"Of {record['n_history']:,} items in all.", kind="past"),
            _column("Recommended, of everything", (_slot(line) for line in ten)),
            _column("Recommended, new to them", (_slot(line) for line in new)),
            _column("Bought in the two weeks", (_bought(line) for line in record["bought"]), more),
        )
    )  # fmt: skip
    return f'<div class="household"><h3>{head}</h3><div class="columns">{columns}</div></div>'


def _column(head: str, lines: Iterable[str], below: str = "", *, kind: str = "") -> str:
    note = f"<p>{escape(below)}</p>" if below else ""
    return f'<div><h4>{escape(head)}</h4><ol class="{kind}">{"".join(lines)}</ol>{note}</div>'


def _past(line: Record) -> str:
    days = line["days_ago"]
    last = "today" if days < 1 else "1 day ago" if days == 1 else f"{days} days ago"
    times = "once" if line["times"] == 1 else f"{line['times']} times"
    return _line(line["title"], f"{times}, {last}")


def _slot(line: Record) -> str:
    return _line(line["title"], "✓ bought" if line["bought"] else "", hit=line["bought"])


def _bought(line: Record) -> str:
    kind = "again" if line["again"] else "new"
    return _line(line["title"], f"✓ {kind}" if line["recommended"] else kind, hit=line["recommended"])


def _line(title: str, remark: str, *, hit: bool = False) -> str:
    mark = ' class="hit"' if hit else ""
    return f"<li{mark}>{escape(title)}{f'<span>{escape(remark)}</span>' if remark else ''}</li>"
