"""Taking turns: ratios, their quartiles, and the table and plot that they end in."""

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from tqdm import tqdm

from nglkeras.report.figures import styled
from nglkeras.report.tables import as_text
from nglkeras.runs.environment import environment


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How something does against a reference.

    Attributes:
        case: What both had to do.
        name: What was measured.
        against: What it was measured against.
        ratio: Median over the rounds of its time to the reference's.
        ratio_q1: First quartile.
        ratio_q3: Third quartile.
        seconds: Median time.
        rounds: How often both took their turn.
        error: Greatest error of the gradient, relative to its greatest entry.
        memory: Bytes at its peak beyond what was there before.
        memory_of: What they were measured on, where that is not the case itself.
    """

    case: str
    name: str
    against: str
    ratio: float
    ratio_q1: float
    ratio_q3: float
    seconds: float
    rounds: int
    error: float | None = None
    memory: int | None = None
    memory_of: str | None = None


def interleaved(
    calls: dict[str, Callable[[], object]], *, rounds: int, repeats: int = 1, what: str = ""
) -> dict[str, np.ndarray]:
    """Seconds of each call in each round; they take turns.

    Args:
        calls: What to time, by name; each returns when its work is done.
        rounds: How many.
        repeats: Calls a turn, for what is too short for a clock.
        what: Stands before the progress bar.
    """
    for call in calls.values():
        call()
    seconds = {name: np.empty(rounds) for name in calls}
    for i in tqdm(range(rounds), desc=what, leave=False):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(repeats):
                call()
            seconds[name][i] = (time.perf_counter() - started) / repeats
    return seconds


def compared(
    case: str, seconds: dict[str, np.ndarray], against: str, **others: dict[str, float]
) -> list[Measurement]:
    """Everything that took turns against one of it.

    Args:
        case: What all had to do.
        seconds: As `interleaved` gives them.
        against: Name of the reference.
        **others: Further fields of `Measurement`, by name of what was measured.
    """
    found = []
    for name, times in seconds.items():
        q1, ratio, q3 = np.quantile(times / seconds[against], [0.25, 0.5, 0.75])
        found.append(
            Measurement(
                case=case,
                name=name,
                against=against,
                ratio=ratio,
                ratio_q1=q1,
                ratio_q3=q3,
                seconds=float(np.median(times)),
                rounds=len(times),
                **{field: values.get(name) for field, values in others.items()},
            )
        )
    return found


def report(
    measurements: Sequence[Measurement], title: str, path: Path, save: Callable[..., list[Path]]
) -> None:
    """Print a table, write it as CSV with hardware, versions and date, and draw it.

    Args:
        measurements: Rows of the table.
        title: Heading of table and figure.
        path: Folder and name of the files, without an ending.
        save: Saves a figure as `figures.save` does.
    """
    found = pd.DataFrame(measurements).dropna(axis="columns", how="all")
    shown = pd.DataFrame(
        {
            "case": found["case"],
            "name": found["name"],
            "ratio": found["ratio"].map("{:.2f}".format),
            "quartiles": [
                f"[{low:.2f}, {high:.2f}]"
                for low, high in zip(found["ratio_q1"], found["ratio_q3"], strict=True)
            ],
            "time": found["seconds"].map(_time),
        }
    )
    if "error" in found:
        shown["gradient's error"] = found["error"].map(lambda e: "" if pd.isna(e) else f"{e:.1e}")
    if "memory" in found:
        shown["memory"] = found["memory"].map(
            lambda b: "" if pd.isna(b) else f"{b / 2**20:.0f} MiB"
        )
    print("", title, "", as_text([list(shown), *shown.to_numpy().tolist()]), "", sep="\n")
    where = environment() | {"gpus": "; ".join(environment()["gpus"])}
    found = found.assign(date=datetime.date.today().isoformat(), **where)
    found.to_csv(path.with_suffix(".csv"), index=False)
    files = [path.with_suffix(".csv"), *save(partial(draw, found, title), path.parent, path.name)]
    print("written:", *files)


def _time(seconds):
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


@styled
def draw(found: pd.DataFrame, title: str) -> Figure:
    """Ratios with their quartiles, a panel for each case."""
    shown = found[found["name"] != found["against"]]
    panels = [(case, rows) for case, rows in shown.groupby("case", sort=False)]
    columns = 2 if len(panels) > 6 else 1
    heights = [
        1 + max(len(rows) for _, rows in panels[i : i + columns])
        for i in range(0, len(panels), columns)
    ]
    figure = Figure(figsize=(8 * columns, 1 + 0.3 * sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(heights), columns, squeeze=False, sharex=True, height_ratios=heights
    ).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (case, rows) in zip(axes, panels, strict=False):
        spread = rows["ratio"] - rows["ratio_q1"], rows["ratio_q3"] - rows["ratio"]
        places = np.arange(len(rows))
        axis.errorbar(rows["ratio"], places, xerr=spread, fmt="o", capsize=3)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_yticks(places, rows["name"])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        against = rows["against"].iloc[0]
        axis.set_title(f"{case}; 1 = {against}", loc="left", fontsize="medium")
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.tick_params(labelbottom=True)
        axis.grid(axis="x", alpha=0.3)
    figure.supxlabel("time, as a ratio (median and quartiles)", fontsize="medium")
    figure.suptitle(title)
    return figure
