"""The picture of the serving bench: latency under load, CPU time of a request, and where its time goes.

In: the tidy records of `bench_serving.json`. Out: a matplotlib figure, or with `write` the file
`bench_serving.png` beside them. Nothing is drawn on a screen; every number in it is a record's value.

    endcap bench --only serving
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from training.quality_plots import BASELINE, COLOURS, INK, PALE, finish

Record = Mapping[str, Any]
Key = tuple[str, str]  # design and store
NAMES: dict[Key, str] = {
    ("naive", "sqlite"): "naive: Feast, SQLite",
    ("packed", "sqlite"): "packed: SQLite",
    ("packed", "redis"): "packed: Redis",
}
SHADES: dict[Key, str] = {
    ("naive", "sqlite"): COLOURS["buy_again"],
    ("packed", "sqlite"): COLOURS["stack"],
    ("packed", "redis"): COLOURS["two_tower"],
}
QUANTILES = {"p50_ms": "o", "p95_ms": "s", "p99_ms": "^"}  # with their markers
WHOLE = "whole request"
APART = 0.24  # between designs, where neighbouring groups are 1 apart


def figure(records: Iterable[Record]) -> Any:
    """Three panels: latency by design and concurrency, CPU time by design, stages of one request."""
    from matplotlib.figure import Figure

    kept = [each for each in records if "kind" not in each and "versus" not in each]  # requests, not events
    made = Figure(figsize=(15.0, 4.8), layout="constrained", facecolor="white")
    latency, cpu, stages = made.subplots(1, 3, width_ratios=(1.15, 0.9, 1.1))
    draw_latency(latency, [each for each in kept if each["metric"] in QUANTILES and "stage" not in each])
    draw_cpu(cpu, [each for each in kept if each["metric"] == "cpu_ms" and each["concurrency"] == 1])
    draw_stages(stages, [each for each in kept if each["metric"] == "p50_ms" and each["concurrency"] == 1])
    return made


def write(folder: Path, records: Iterable[Record]) -> Path:
    """Replace the picture in a folder of reports; its path."""
    picture, path = BytesIO(), folder / "bench_serving.png"
    figure(records).savefig(picture, format="png", dpi=160)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_bytes(picture.getvalue())
    aside.replace(path)
    return path


def draw_latency(panel: Any, records: Sequence[Record]) -> None:
    """A line from the median to the 99th percentile for each design at each concurrency."""
    levels = sorted({each["concurrency"] for each in records})
    for at, level in enumerate(levels):
        here = [each for each in records if each["concurrency"] == level]
        for design, shift in zip(designs(here), shifts(len(designs(here))), strict=True):
            values = {each["metric"]: each["value"] for each in of(here, design)}
            shown, x = [values[name] for name in QUANTILES if name in values], at + shift
            panel.plot([x] * len(shown), shown, color=SHADES.get(design, PALE), linewidth=1.5)
            for name, value in values.items():
                panel.plot([x], [value], QUANTILES[name], color=SHADES.get(design, PALE), markersize=6)
            panel.annotate(told(values["p50_ms"]), (x, values["p50_ms"]), (0, -7), textcoords="offset points",
                           ha="center", va="top", fontsize=8, color=INK)  # fmt: skip
    panel.set_yscale("log")
    panel.margins(y=0.12)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xticks(range(len(levels)), [str(level) for level in levels])
    panel.set_xlim(-0.5, len(levels) - 0.4)
    panel.set_xlabel("concurrent clients, which share the cores with the server")
    panel.set_ylabel("milliseconds, log scale")
    handles = [
        panel.plot([], [], marker, color=PALE, label=name.removesuffix("_ms"))[0]
        for name, marker in QUANTILES.items()
    ]
    panel.legend(handles=handles, frameon=False, fontsize=9, loc="lower right")
    finish(panel, "Latency of a request over HTTP", grid="y")
    panel.minorticks_off()


def draw_cpu(panel: Any, records: Sequence[Record]) -> None:
    """A bar for each design."""
    shown = designs(records)[::-1]
    values = {design: of(records, design)[0]["value"] for design in shown}
    for place, (design, value) in enumerate(values.items()):
        panel.barh(place, value, height=0.5, color=SHADES.get(design, BASELINE))
        panel.text(value, place, f" {told(value)} ms", va="center", fontsize=9, color=INK)
    panel.set_yticks(range(len(shown)), [name_of(design) for design in shown])
    panel.set_ylim(-0.6, len(shown) - 0.4)
    panel.set_xlim(0, 1.25 * max(values.values(), default=1.0))
    panel.set_xlabel("CPU milliseconds of the server for each request, one client")
    finish(panel, "CPU time of a request", grid="x")
    panel.minorticks_off()


def draw_stages(panel: Any, records: Sequence[Record]) -> None:
    """A row for each stage and one for all of it, a dot for each design."""
    rows = [*dict.fromkeys(each["stage"] for each in records if "stage" in each), WHOLE][::-1]
    shown = designs(records)
    for design, shift in zip(shown, shifts(len(shown))[::-1], strict=True):
        mine = of(records, design)
        places = [rows.index(each.get("stage", WHOLE)) + shift for each in mine]
        values = [each["value"] for each in mine]
        panel.plot(values, places, "o", color=SHADES.get(design, PALE), markersize=6, label=name_of(design))
        for value, place in zip(values, places, strict=True):
            panel.text(1.12 * value, place, told(value), va="center", fontsize=8, color=INK)
    panel.set_xscale("log")
    panel.margins(x=0.14)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(-0.5, len(rows) - 0.5)
    panel.set_xlabel("milliseconds, median, one client, log scale")
    handles = panel.get_legend_handles_labels()
    panel.figure.legend(*handles, frameon=False, fontsize=9, loc="outside upper right", ncols=len(NAMES))
    finish(panel, "Where the time of a request goes", grid="both")
    panel.minorticks_off()


def designs(records: Iterable[Record]) -> list[Key]:
    """Designs of some records, in the order of NAMES, others after them."""
    present = {(each["design"], each["store"]) for each in records}
    return [key for key in NAMES if key in present] + sorted(present - NAMES.keys())


def of(records: Iterable[Record], design: Key) -> list[Record]:
    """Records of one design."""
    return [each for each in records if (each["design"], each["store"]) == design]


def name_of(design: Key) -> str:
    """A design for a person."""
    return NAMES.get(design, " ".join(design))


def shifts(n: int) -> list[float]:
    """Places of `n` marks around one, APART from each other.

    >>> shifts(2)
    [-0.12, 0.12]
    """
    return [round(APART * (number - (n - 1) / 2), 6) for number in range(n)]


def told(value: float) -> str:
    """Three digits.

    >>> told(0.3333), told(8.712), told(68.05), told(241.56)
    ('0.333', '8.71', '68.0', '242')
    """
    digits = 3 - len(str(int(value))) if value >= 1 else 3
    return f"{value:.{max(digits, 0)}f}"
