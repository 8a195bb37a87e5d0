"""Take turns, compare, and report as a table, a CSV file and a plot."""

import datetime
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from tqdm import tqdm

from nglkeras import paths
from nglkeras.report.figures import styled
from nglkeras.report.tables import as_text
from nglkeras.runs.environment import environment


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The time of a contestant relative to a reference.

    Attributes:
        case: The work that was done.
        name: The contestant.
        against: The reference.
        ratio: Median over the rounds of its time divided by the reference's.
        ratio_q1: First quartile.
        ratio_q3: Third quartile.
        seconds: Median time.
        rounds: Number of rounds.
        error: Largest error of the gradient, relative to the gradient's largest entry.
        memory: Peak memory in bytes, beyond what was in use before.
        memory_of: Size at which memory was measured, where it is not the case's.
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


def seconds_of(call: Callable[[], object], repeats: int = 1) -> float:
    """Return the mean seconds of a call, which returns when its work is done."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def timed(call: Callable[[], object], repeats: int = 1) -> Callable[[int], float]:
    """Return a contestant for `interleaved` that calls a function `repeats` times a turn."""
    return lambda number: seconds_of(call, repeats)


def interleaved(
    contestants: dict[str, Callable[[int], float]],
    *,
    rounds: int,
    warm_up: bool = True,
    what: str = "",
) -> dict[str, np.ndarray]:
    """Let contestants take turns, and return the seconds of each by round."""
    seconds = {name: np.empty(rounds) for name in contestants}
    for i in tqdm(range(-warm_up, rounds), desc=what, leave=False):
        for name, turn in contestants.items():
            # The first round writes over the place of the round -1.
            seconds[name][max(i, 0)] = turn(i)
    return seconds


def compared(
    case: str, seconds: dict[str, np.ndarray], against: str, **others: dict[str, float]
) -> list[Measurement]:
    """Compare every contestant with one of them."""
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


def in_new_process(function: Callable, *arguments):
    """Call a function in a process of its own, whose memory is then its own too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _time(seconds):
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


RATIOS = {
    "case": lambda row: row.case,
    "name": lambda row: row.name,
    "ratio": lambda row: f"{row.ratio:.2f}",
    "quartiles": lambda row: f"[{row.ratio_q1:.2f}, {row.ratio_q3:.2f}]",
    "time": lambda row: _time(row.seconds),
    "gradient's error": lambda row: "" if row.error is None else f"{row.error:.1e}",
    "memory": lambda row: "" if row.memory is None else f"{row.memory / 2**20:.0f} MiB",
}


@styled
def draw_ratios(found: pd.DataFrame, title: str) -> Figure:
    """Draw ratios with their quartiles, a panel for each case."""
    shown = found[found["name"] != found["against"]]
    panels = list(shown.groupby("case", sort=False))
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


def show(rows: Sequence, title: str, columns: dict[str, Callable]) -> None:
    """Print a table; the arguments are those of `report`."""
    texts = {name: [text(row) for row in rows] for name, text in columns.items()}
    texts = {name: column for name, column in texts.items() if any(column)}
    print("", title, "", as_text([list(texts), *zip(*texts.values(), strict=True)]), "", sep="\n")


def circumstances() -> dict[str, str]:
    """Return what stands beside a measurement: the date, hardware and versions."""
    where = environment()
    today = datetime.date.today().isoformat()
    return {"date": today} | where | {"gpus": "; ".join(where["gpus"])}


def report(
    rows: Sequence,
    title: str,
    path: Path,
    save: Callable[..., list[Path]],
    *,
    columns: dict[str, Callable] = RATIOS,
    draw: Callable[[pd.DataFrame, str], Figure] | None = draw_ratios,
    update: str | None = "case",
) -> None:
    """Print a table, write it as CSV with hardware, versions and date, and draw it.

    Args:
        rows: Dataclasses of one kind.
        title: Heading of the table and the figure.
        path: Folder and name of the files, without an ending.
        save: Saves a figure as `figures.save` does.
        columns: Function from a row to text for each column of the printed table; columns without
            text are left out.
        draw: Draws the frame of the CSV file; `None` for no figure.
        update: Field by which rows of an existing file are replaced; others stay in the file.
            `None` replaces the file.
    """
    show(rows, title, columns)
    found = pd.DataFrame(rows).dropna(axis="columns", how="all").assign(**circumstances())
    file = path.with_suffix(".csv")
    if update and file.exists() and file.stat().st_size:
        before = pd.read_csv(file, keep_default_na=False)
        found = pd.concat([before[~before[update].isin(found[update])], found])
    with paths.replacing(file) as out:
        found.to_csv(out, index=False)
    figures = save(partial(draw, found, title), path.parent, path.name) if draw else []
    print("written:", file, *figures)
