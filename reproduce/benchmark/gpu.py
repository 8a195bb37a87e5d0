"""What a card does in a few minutes: kernels, training steps, searches, memory, and a table.

Each part has tasks, and each task runs in a process of its own, with a limit of time: one that
hangs, crashes or runs out of memory costs only its own rows. Every row is on the disk as soon as it
is measured, and the same command goes on where it stopped. It runs on JAX, PyTorch or TensorFlow,
whichever `KERAS_BACKEND` names.
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmark import gpu_kernels, gpu_limits, gpu_search, gpu_training
from benchmark.gpu_limits import Task
from benchmark.gpu_rows import DONE, MEASURED, Row, Rows, machine
from benchmark.gpu_training import Network
from benchmark.loss import SHAPES
from nglkeras import paths
from nglkeras.data.catalog import get_info
from nglkeras.errors import unknown
from nglkeras.experiments.classification.protocol import TABLE2_SCALES, setting_of
from nglkeras.report.figures import styled
from nglkeras.report.tables import as_text
from nglkeras.training import devices
from nglkeras.training.schedule import PRECISIONS

# The parts in their order, with their shares of the time.
SHARES = {"kernels": 1.0, "step": 5.0, "candidates": 2.0, "memory": 2.0, "column": 3.0}
# Seconds of the budget that are left for imports and the report.
RESERVE = 15
# Pixels of the smallest image that InceptionV3 takes; the network enlarges smaller ones.
PIXELS = 75
_COLUMN = replace(
    TABLE2_SCALES["small"],
    name="gpu",
    models=("InceptionV3",),
    runs=1,
    epochs=None,
    stop_after=None,
    image_size=PIXELS,
    model_images=(),
)
NETWORKS = (
    Network("InceptionV3", 75, 224),
    Network("unet", 224, 32),
    Network("ResNet50", 32, 224),
    Network("deeplabv2", 321, 10),
)
LARGE_IMAGES = Network("InceptionV3", 224, 128), Network("ResNet50", 224, 128)
# The arguments of each part's function, and the limits of the parts' tasks in seconds. The first of
# several matter most: time may not do for all.
SIZES = {
    "full": {
        "limits": {"kernels": 60, "step": 90, "candidates": 120, "memory": 180, "column": 540},
        "kernels": {"shapes": SHAPES, "rounds": 20, "repeats": 50},
        "step": {
            "cases": tuple(itertools.product(reversed(PRECISIONS), NETWORKS))
            + tuple(itertools.product(reversed(PRECISIONS), LARGE_IMAGES)),
            "count": 32,
            "rounds": 5,
        },
        "candidates": {"together": (4, 16, 64), "epochs": 3, "images": None, "count": 8},
        "memory": {"network": Network("InceptionV3", 75, 224), "most": 65_536},
        "column": {
            "scale": _COLUMN,
            "losses": ("NGL", "CE", "f4", "SCE", "Focal", "f1", "f2", "f3"),
        },
    },
    "tiny": {
        "limits": dict.fromkeys(SHARES, 300),
        "kernels": {"shapes": ((32, 10), (16, 100)), "rounds": 3, "repeats": 2},
        "step": {
            "cases": (
                ("mixed_bfloat16", Network("small_cnn", 8, 8)),
                ("float32", Network("unet_narrow", 32, 2)),
            ),
            "count": 2,
            "rounds": 2,
        },
        "candidates": {"together": (2, 4), "epochs": 2, "images": 256, "count": 2},
        "memory": {"network": Network("small_cnn", 8, 8), "most": 32},
        "column": {
            "scale": replace(_COLUMN, models=("small_cnn",), epochs=2),
            "losses": ("NGL", "CE"),
        },
    },
}


def tasks(sizes: dict, data: str, data_dir: str | Path | None) -> list[Task]:
    """Return all tasks, part by part.

    Args:
        sizes: A value of `SIZES`.
        data: Data set of the column of table 2.
        data_dir: Its folder.
    """
    found = []

    def add(part, name, work, **settings):
        found.append(Task(part, name, partial(work, **settings), sizes["limits"][part]))

    add("kernels", "all shapes", gpu_kernels.work, **sizes["kernels"])
    settings = dict(sizes["step"])
    for precision, network in settings.pop("cases"):
        given = {"network": network, "precision": precision, **settings}
        add("step", f"{network.title}, {precision}", gpu_training.steps, **given)
    settings = {"programs": devices.backend() == "jax", **sizes["candidates"]}
    add("candidates", "small CNN", gpu_search.candidates, **settings)
    settings = {"precision": PRECISIONS[-1], **sizes["memory"]}
    add("memory", settings["network"].title, gpu_training.memory_end, **settings)
    size = setting_of(data, get_info(data, data_dir)).image_size
    changes = {"datasets": (data,), "upsampling": -(-PIXELS // min(size, PIXELS))}
    settings = sizes["column"] | {"scale": replace(sizes["column"]["scale"], **changes)}
    name = f"{settings['scale'].models[0]} on {data}"
    add("column", name, gpu_search.column, data_dir=data_dir, **settings)
    return found


def measure(
    rounds: int | None,
    *,
    path: Path,
    minutes: float,
    tiny: bool,
    parts: Sequence[str] | None = None,
    data: str = "digits",
    data_dir: str | Path | None = None,
) -> list[tuple[Row, dict]]:
    """Measure what the file of rows does not have yet, and return the last row of everything.

    Args:
        rounds: Rounds of the kernels; `None` for enough.
        path: Folder and name of the file, without an ending.
        minutes: Limit on the time of everything.
        tiny: Whether all sizes are so small that two CPU cores take two minutes.
        parts: Which parts of `SHARES`; `None` for all.
        data: Data set of the column of table 2.
        data_dir: Its folder.

    Raises:
        UserError: If there is no such part.
    """
    for part in parts or ():
        if part not in SHARES:
            raise unknown("part", part, SHARES)
    name = "tiny" if tiny else "full"
    sizes = dict(SIZES[name])
    if rounds is not None:
        sizes["kernels"] = sizes["kernels"] | {"rounds": rounds}
    if machine()["driver"] is not None:
        # Processes share what XLA has measured of a card, and a command that goes on has all of it.
        folder = Path(tempfile.gettempdir()) / "nglkeras-jax-cache"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    rows = Rows(path.with_suffix(".jsonl"), name)
    seconds, say = 60 * minutes - RESERVE, partial(print, flush=True)
    wanted = [task for task in tasks(sizes, data, data_dir) if task.part in (parts or SHARES)]
    gpu_limits.run(wanted, rows, seconds, SHARES, say)
    return list(rows.last().values())


def _number(name, form, factor=1):
    def show(row):
        value = getattr(row, name)
        return "" if value is None else format(factor * value, form)

    return show


# A column without text is left out.
COLUMNS = {
    "case": lambda row: row.case,
    "name": lambda row: row.name,
    "status": lambda row: "" if row.status == MEASURED else row.status,
    "ms": _number("seconds", ".4g", 1000),
    "against Keras": _number("ratio", ".2f"),
    "value's error": _number("value_error", ".1e"),
    "gradient's error": _number("gradient_error", ".1e"),
    "images/s": _number("images_per_second", ",.0f"),
    "first, s": _number("first", ".1f"),
    "an hour": _number("candidates_per_hour", ",.0f"),
    "batch": _number("batch", ",d"),
    "parts": _number("parts", "d"),
    "peak, GiB": _number("peak_gib", ".2f"),
    "epochs": _number("epochs", "d"),
    "validation, %": _number("validation_accuracy", ".2f", 100),
    "test, %": _number("accuracy", ".2f", 100),
    "": lambda row: row.message[:60],
}


def report(
    rows: list[tuple[Row, dict]], title: str, path: Path, save: Callable[..., list[Path]]
) -> None:
    """Print a table for each part, write all as CSV, and draw it.

    Args:
        rows: What `measure` returns.
        title: Heading of the figure.
        path: Folder and name of the files, without an ending.
        save: Saves a figure as `figures.save` does.
    """
    # The end of a task that went well says no more than its rows.
    rows = [(row, record) for row, record in rows if row.status != DONE]
    if not rows:
        print("nothing was measured")
        return
    where = rows[-1][1]
    driver = f", driver {where['driver']}" if where["driver"] else ""
    print("", title, f"{where['machine']}{driver}, {where['backend']}", sep="\n")
    for part in SHARES:
        of_part = [row for row, _ in rows if row.part == part]
        texts = {name: [show(row) for row in of_part] for name, show in COLUMNS.items()}
        texts = {name: column for name, column in texts.items() if any(column)}
        if texts:
            print("", as_text([list(texts), *zip(*texts.values(), strict=True)]), sep="\n")
    found = pd.DataFrame([_flat(row, record) for row, record in rows])
    found = found.dropna(axis="columns", how="all")
    file = path.with_suffix(".csv")
    with paths.replacing(file) as out:
        found.to_csv(out, index=False)
    print("", f"rows: {path.with_suffix('.jsonl')}", sep="\n")
    print("written:", file, *save(partial(draw, found, title), path.parent, path.name))


def _flat(row, record):
    environment = record.get("environment") or {}
    gpus = {"gpus": "; ".join(environment.get("gpus", ()))}
    where = {name: record[name] for name in ("machine", "driver", "sizes", "finished")}
    return asdict(row) | where | environment | gpus


# The column of the CSV file that each part's panel shows.
SHOWN = {
    "kernels": ("ratio", "time of loss and gradient, relative to Keras' cross entropy"),
    "step": ("images_per_second", "images a second of a training step"),
    "candidates": ("candidates_per_hour", "candidates of a search an hour"),
    "memory": ("batch", "batches that were tried, and the greatest that fits"),
    "column": ("validation_accuracy", "validation accuracy after the last epoch"),
}


@styled
def draw(found: pd.DataFrame, title: str) -> Figure:
    """Draw a panel of bars for each part."""
    card, backend, panels = found["machine"].iloc[-1], found["backend"].iloc[-1], []
    found = found[found["status"] == MEASURED]
    for part, (value, label) in SHOWN.items():
        rows = found[(found["part"] == part) & found.get(value, pd.Series(dtype=float)).notna()]
        if len(rows):
            panels.append((rows, value, label))
    heights = [2 + len(rows) for rows, _, _ in panels] or [1]
    figure = Figure(figsize=(9, 1 + 0.26 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights).ravel()
    for axis, (rows, value, label) in zip(axes, panels, strict=False):
        names = (rows["case"] + ": " + rows["name"]).tolist()
        places = range(len(names))
        axis.barh(places, rows[value], color="tab:blue")
        axis.set_yticks(places, names, fontsize="small")
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_title(label, loc="left", fontsize="medium")
        axis.grid(axis="y", visible=False)
        if value == "ratio":
            axis.axvline(1.0, color="black", linewidth=0.8)
        for place, number in zip(places, rows[value], strict=True):
            text = f" {number:,.0f}" if number >= 100 else f" {number:.3g}"
            axis.annotate(text, (number, place), va="center", fontsize="x-small")
        axis.margins(x=0.1)
    figure.suptitle(f"{title}: {card}, {backend}")
    return figure
