"""One training step of each network at the paper's scale: its time and its peak memory.

Each is measured in a process of its own. Where the paper's batch does not fit into the memory that
may be used, it is the largest power of two that does: two small batches tell what an image takes.
The memory is the process', not a GPU's.
"""

import datetime
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from nglkeras.errors import UserError, unknown
from nglkeras.report.tables import as_text
from nglkeras.runs.environment import environment

GIB = 2**30
PROBES = (4, 8)


@dataclass(frozen=True)
class Configuration:
    """A network as the paper trains it.

    Attributes:
        name: Of the network.
        batch_size: Images an update in the paper.
        image_size: Height and width of the images, in pixels.
        make: Gives the compiled network with so many images and their labels.
    """

    name: str
    batch_size: int
    image_size: int
    make: Callable[[int], tuple[object, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Step:
    """A measured training step.

    Attributes:
        name: Of the network.
        parameters: Their number.
        image_size: Height and width of the images, in pixels.
        paper_batch: Images an update in the paper.
        batch: Images of the step.
        seconds: Median time of a step; of the first, if no other was timed.
        images_per_second: At that time.
        first: Seconds of the first step, which traces.
        peak_gib: Memory of the whole process at its peak.
        rounds: Steps that were timed.
    """

    name: str
    parameters: int
    image_size: int
    paper_batch: int
    batch: int
    seconds: float
    images_per_second: float
    first: float
    peak_gib: float
    rounds: int


def configurations() -> dict[str, Configuration]:
    """Every network of the paper's tables 3 to 5 with NGL, by name."""
    from nglkeras.experiments import imagenet, segmentation
    from nglkeras.experiments.imagenet.training import paper_step as classification
    from nglkeras.experiments.segmentation.training import paper_step as pixels

    found = []
    for name in imagenet.protocol.SCALES["paper"].models:
        batch_size = imagenet.protocol.RECIPES[name].batch_size
        found.append(Configuration(name, batch_size, 224, partial(classification, name)))
    recipes = segmentation.recipes
    for table in (recipes.TABLE4_SCALES, recipes.TABLE5_SCALES):
        for name in table["paper"].models:
            dataset = table["paper"].dataset_of(name)
            recipe = recipes.RECIPES[name, dataset]
            sizes = recipe.schedule.part_size, recipe.views.crop
            make = partial(pixels, name, dataset)
            found.append(Configuration(f"{name}/{dataset}", *sizes, make))
    return {one.name: one for one in found}


def measure(rounds: int, names: Sequence[str] | None, limit: float) -> list[Step]:
    """A step of each of these networks, or of all.

    Args:
        rounds: Steps to time, after the first.
        names: Of `configurations()`.
        limit: GiB that a process may take.

    Raises:
        UserError: If there is no such network, or none could be measured.
    """
    known = configurations()
    for name in names or ():
        if name not in known:
            raise unknown("model", name, known)
    steps = []
    for name in names or known:
        try:
            batch = _largest(known[name], limit)
            print(f"{name}: a step of {batch} images", flush=True)
            steps.append(_apart(name, batch, rounds))
        # The others have their numbers all the same.
        except subprocess.CalledProcessError as error:
            print(f"{name} failed: {(error.stderr.strip() or str(error)).splitlines()[-1]}")
    if not steps:
        raise UserError("no step could be measured")
    return steps


def _largest(configuration, limit):
    """The paper's batch, or the largest power of two that fits into so many GiB."""
    small, large = (_apart(configuration.name, batch, 0).peak_gib for batch in PROBES)
    image = max(large - small, 1e-6) / (PROBES[1] - PROBES[0])
    room = int((limit - small) / image) + PROBES[0]
    if room >= configuration.batch_size:
        return configuration.batch_size
    return 2 ** max(int(np.log2(max(room, 1))), 0)


def _apart(name, batch, rounds):
    command = [sys.executable, "-m", "nglkeras.benchmarks.step", name, str(batch), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Step(**json.loads(done.stdout.splitlines()[-1]))


def step(configuration: Configuration, batch: int, rounds: int) -> Step:
    """Measure it in this process, whose peak memory is part of it."""
    model, x, y = configuration.make(batch)
    seconds = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usual = float(np.median(seconds[1:] or seconds))
    return Step(
        name=configuration.name,
        parameters=model.count_params(),
        image_size=configuration.image_size,
        paper_batch=configuration.batch_size,
        batch=batch,
        seconds=round(usual, 3),
        images_per_second=round(batch / usual, 3),
        first=round(seconds[0], 3),
        # Linux counts KiB, macOS bytes.
        peak_gib=round(peak * (1 if sys.platform == "darwin" else 1024) / GIB, 3),
        rounds=rounds,
    )


def report(steps: Sequence[Step], title: str, path: Path) -> None:
    """Print a table and write it as CSV with hardware, versions and date.

    Networks that the file has already and that were not measured anew stay in it.
    """
    where = environment() | {"gpus": "; ".join(environment()["gpus"])}
    found = pd.DataFrame(map(asdict, steps))
    found = found.assign(date=datetime.date.today().isoformat(), **where)
    path = path.with_suffix(".csv")
    if path.exists():
        before = pd.read_csv(path, keep_default_na=False)
        found = pd.concat([before[~before["name"].isin(found["name"])], found])
    heading = ["network", "parameters", "pixels", "paper's batch", "batch", "step", "peak memory"]
    rows = [
        [
            row.name,
            f"{row.parameters:,}",
            str(row.image_size),
            str(row.paper_batch),
            str(row.batch),
            f"{row.seconds:.2f} s",
            f"{row.peak_gib:.1f} GiB",
        ]
        for row in steps
    ]
    print("", title, "", as_text([heading, *rows]), "", sep="\n")
    found.to_csv(path, index=False)
    print(f"written: {path}")


if __name__ == "__main__":
    chosen, batch_size, count = sys.argv[1:]
    print(json.dumps(asdict(step(configurations()[chosen], int(batch_size), int(count)))))
