"""The rows of `benchmark.py gpu`: JSON lines that are on the disk as soon as they are measured."""

import datetime
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from nglkeras.errors import in_a_line
from nglkeras.runs.journal import Records
from nglkeras.training import devices

# Statuses of a row beside those of a training that failed.
MEASURED, DONE = "ok", "done"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement, or the end of a task.

    Attributes:
        part: Part of the benchmark.
        case: The work that was done; in the row of a task's end, the task.
        name: The contestant; empty in the row of a task's end.
        status: "ok" for a measurement, "done" for the end of a task; otherwise what ended it.
        message: What went wrong.
        seconds: Median time of a call or a step, time of a training, or time of a task.
        ratio: `seconds` divided by those of Keras' cross entropy.
        value_error: Largest error of the loss against float64, relative to its mean.
        gradient_error: Largest error of the gradient, relative to the gradient's largest entry.
        images_per_second: Images a second of a training step.
        first: Seconds until the end of the first steps, with compilation.
        candidates_per_hour: Candidates of a search that are trained in an hour.
        batch: Images of a batch.
        parts: Parts that a batch was divided into for lack of memory.
        peak_gib: Peak memory of the device.
        memory_gib: Memory that the device has.
        epochs: Epochs that were trained.
        accuracy: Accuracy on the test set after all epochs.
        validation_accuracy: Accuracy on the validation set after the last epoch.
        rounds: Number of times that were measured.
    """

    part: str
    case: str
    name: str = ""
    status: str = MEASURED
    message: str = ""
    seconds: float | None = None
    ratio: float | None = None
    value_error: float | None = None
    gradient_error: float | None = None
    images_per_second: float | None = None
    first: float | None = None
    candidates_per_hour: float | None = None
    batch: int | None = None
    parts: int | None = None
    peak_gib: float | None = None
    memory_gib: float | None = None
    epochs: int | None = None
    accuracy: float | None = None
    validation_accuracy: float | None = None
    rounds: int | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """What a later row of the same measurement replaces."""
        return self.part, self.case, self.name


class Rows:
    """The rows of one machine, backend and size in a file, which may have others.

    Args:
        path: The file.
        sizes: Name of the sizes that are measured.
    """

    def __init__(self, path: Path, sizes: str):
        self.path, self.sizes = path, sizes
        self.where = machine() | {"backend": devices.backend(), "sizes": sizes}
        self._file = Records(path)

    def append(self, row: Row, environment: dict | None = None) -> None:
        """Add a row; it is on the disk when this method returns."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        more = {"environment": environment or {}, "finished": now}
        self._file.append(asdict(row) | self.where | more)

    def read(self) -> Iterator[tuple[Row, dict]]:
        """Yield each row of this machine, backend and size, and its whole record."""
        names = [field.name for field in fields(Row)]
        for record in self._file.read():
            if all(record.get(name) == value for name, value in self.where.items()):
                yield Row(**{name: record[name] for name in names if name in record}), record

    def last(self) -> dict[tuple[str, str, str], tuple[Row, dict]]:
        """Return the last row of each measurement and of each task's end, by identity.

        A measurement stays when a later try at it fails.
        """
        found = {}
        for row, record in self.read():
            before = found.get(row.identity)
            if before is None or before[0].status not in (MEASURED, DONE) or row.status == MEASURED:
                found[row.identity] = row, record
        return found


def failure(part: str, task: str, status: str, message: object, seconds: float) -> Row:
    """Return the row of a task that did not come to its end."""
    text = in_a_line(message)[:500]
    return Row(part=part, case=task, status=status, message=text, seconds=round(seconds, 3))


@cache
def machine() -> dict[str, str | None]:
    """Return the names of card and driver, without a backend: asking one takes the card's memory.

    Without an NVIDIA card, the machine is the processor.
    """
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
        cards = [line.rpartition(", ") for line in found.stdout.strip().splitlines()]
        return {"machine": "; ".join(name for name, _, _ in cards), "driver": cards[0][2]}
    except (OSError, subprocess.SubprocessError, IndexError):
        return _from_proc() or {"machine": "CPU", "driver": None}


def _from_proc():
    """Return the same where there is no nvidia-smi, as in some containers."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia").glob("gpus/*/information")):
        lines = path.read_text("utf-8", errors="replace").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    if not names:
        return None
    version = Path("/proc/driver/nvidia/version")
    text = version.read_text("utf-8", errors="replace") if version.exists() else ""
    words = text.partition("Kernel Module")[2].split()
    return {"machine": "; ".join(names), "driver": words[0] if words else None}
