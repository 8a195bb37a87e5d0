"""A search's candidates in an hour on a card, and a column of table 2."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmark.gpu_limits import Context
from benchmark.gpu_rows import Row
from nglkeras import losses
from nglkeras.data import datasets
from nglkeras.errors import in_a_line
from nglkeras.executors import Local
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.protocol import ClassificationScale
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.trial import plan
from nglkeras.expression import Expression
from nglkeras.runs.environment import environment
from nglkeras.runs.journal import Journal
from nglkeras.search import TrainingFitness
from nglkeras.training import accumulation

CANDIDATES, COLUMN = "candidates", "column"
# Seconds of a training that only compiles.
GLANCE = 1e-3


def candidates(
    context: Context,
    *,
    together: Sequence[int],
    epochs: int,
    images: int | None,
    count: int,
    programs: bool,
) -> Iterator[Row]:
    """Count the candidates of a search on digits with the small CNN, trained in several ways.

    Args:
        context: What the task is told.
        together: Numbers of candidates that are trained at once.
        epochs: Epochs of a candidate.
        images: Training images; `None` for all.
        count: Candidates that are trained one after the other.
        programs: Whether the backend trains as one program.
    """
    arrays = datasets.load_arrays("digits", image_size=8, train_images=images, splits="random")
    train, held = (
        (np.repeat(part[0], 3, axis=-1).astype("float32"), part[1])
        for part in (arrays.train, arrays.validation)
    )
    case = f"small CNN on digits, {len(train[1]):,} images, {epochs} epochs"
    ways = {"one by one": (count, {}, False)}
    if programs:
        ways["one program"] = (count, {}, True)
        ways |= {f"together, {n}": (n, {"together": n}, True) for n in together}
    for name, (number, settings, one_program) in ways.items():
        if (case, name) in context.measured:
            continue
        fitness = TrainingFitness(_small_cnn, train, held, epochs=epochs, **settings)
        fitness.compiled.one_program = one_program
        if settings:
            # A group that fails would be trained one by one, under the name of another way.
            fitness.compiled.train = _refused
        _generation(fitness, number, 1.0)
        started = time.perf_counter()
        _generation(fitness, number, 1.01)
        seconds = time.perf_counter() - started
        yield Row(
            part=CANDIDATES,
            case=case,
            name=name,
            seconds=seconds / number,
            candidates_per_hour=round(3600 * number / seconds, 1),
            rounds=number,
        )
        del fitness
        accumulation.release()


def _refused(*_, **__):
    raise RuntimeError("the candidates could not be trained together")


def _small_cnn():
    return models.build("small_cnn", (8, 8, 3), 10)


def _generation(fitness, number, factor):
    """Train so many different candidates, and check that they were trained."""
    formulas = list(losses.FORMULAS.values())
    scaled = [
        f"{factor + i // len(formulas) / 100}*({formulas[i % len(formulas)]})"
        for i in range(number)
    ]
    names = list(map(str, range(number)))
    for _, found in fitness.each(list(map(Expression.parse, scaled)), names, Local()):
        if found.status not in ("ok", "non_finite", "exploded"):
            raise RuntimeError(f"a candidate ended with {found.status}: {found.message}")


def column(
    context: Context, *, scale: ClassificationScale, losses: Sequence[str], data_dir: str | None
) -> Iterator[Row]:
    """Train a column of table 2 by its protocol for as long as there is time.

    Each loss gets the same share of the time. The rows of the trainings, with all epochs, also go
    to a journal as table 2 has it; those that the time cut off are trained again by the next
    command.

    Args:
        context: What the task is told.
        scale: Data set, network and sizes.
        losses: The losses, as table 2 names them.
        data_dir: Folder of the data.
    """
    trials = plan(scale, losses, data_dir=data_dir)
    rows = context.rows
    journal = Journal(rows.path.with_name(f"{rows.path.stem}_table2.jsonl"))
    gpus = environment()["gpus"]
    # What another card has trained is no measurement of this one.
    there = {key: row for key, row in journal.results().items() if row.environment["gpus"] == gpus}
    missing = [t for t in trials if t.key not in there or not there[t.key].answers(t)]
    # Under another driver the rows of the same card are trainings that are done.
    done = [_row(t, there[t.key]) for t in trials if t not in missing]
    yield from (row for row in done if (row.case, row.name) not in context.measured)
    networks = SharedNetworks(trials, data_dir=data_dir, timeout=GLANCE)
    if missing:
        # Compile for all of them before the time is shared out.
        networks(missing[0])
    unfinished, epoch = [], 0.0
    for i, trial in enumerate(missing):
        # A training that is one program looks at the clock after an epoch.
        networks.timeout = max((context.left - epoch) / (len(missing) - i), GLANCE)
        result = networks(trial)
        epoch = max([epoch, *(row["seconds"] for row in result.history)])
        journal.append(result)
        if not result.answers(trial):
            unfinished.append(trial.loss)
        yield _row(trial, result)
    if unfinished:
        raise TimeoutError(f"not trained to the end: {', '.join(unfinished)}")


def _row(trial, result):
    history = result.history
    return Row(
        part=COLUMN,
        case=f"{trial.dataset}, {trial.model}, at most {trial.schedule.epochs} epochs",
        name=trial.loss,
        status=result.status,
        message=in_a_line(result.message),
        seconds=result.seconds,
        batch=trial.schedule.batch_size,
        parts=result.accumulation,
        epochs=len(history),
        accuracy=result.accuracy,
        validation_accuracy=history[-1].get("val_accuracy") if history else None,
        images_per_second=_images_per_second(result),
    )


def _images_per_second(result):
    """Return the images a second of the median epoch, without its evaluation."""
    seconds = [epoch["training_seconds"] for epoch in result.history[1:]]
    return round(result.sizes[0] / float(np.median(seconds)), 1) if seconds else None
