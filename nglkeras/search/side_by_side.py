"""Evaluate losses side by side: several networks train at once in one program.

Each loss has the evaluation that it would have alone, to the rounding of float32. If a group fails,
e.g. for lack of memory or because its worker is lost, its losses are evaluated alone: one bad loss
does not take the others with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nglkeras.errors import UserError
from nglkeras.executors import Executor, Local
from nglkeras.search.strategy import Evaluation
from nglkeras.training.compiled import CompiledNetwork

# Most losses of a group for a worker that decides on its places. A group is written down when
# its last loss is done: a larger one would lose more when its worker is killed.
MOST = 64


@dataclass(frozen=True)
class Group:
    """Losses that a worker evaluates side by side."""

    tasks: tuple

    def __str__(self):
        return f"{len(self.tasks)} losses from {self.tasks[0]} on"


def each(fitness, tasks: Sequence, executor: Executor) -> Iterator[tuple[int, Evaluation]]:
    """Yield the index and the evaluation of each loss, as they finish."""
    if isinstance(executor, Local):
        # Each is written down before the next.
        yield from evaluations(fitness, tasks)
        return
    count = MOST if fitness.together == "auto" else fitness.together
    size = min(count, -(-len(tasks) // executor.workers))
    starts = range(0, len(tasks), size)
    groups = [Group(tuple(tasks[start : start + size])) for start in starts]
    alone = []
    for outcome in executor.run(fitness, groups):
        start = starts[outcome.index]
        if outcome.failure is None:
            yield from enumerate(outcome.result, start)
        else:
            alone += range(start, start + len(outcome.task.tasks))
    for outcome in executor.run(fitness, [tasks[index] for index in alone]):
        yield alone[outcome.index], outcome.or_else(Evaluation)


def evaluations(fitness, tasks: Sequence) -> Iterator[tuple[int, Evaluation]]:
    """Yield the index and the evaluation of each loss, as they finish in this process."""
    ended = set()
    places = fitness.places()
    if places is not None:
        try:
            for index, evaluation in places.follow(map(fitness.course, tasks)):
                ended.add(index)
                yield index, evaluation
        except UserError:
            raise
        # Whatever it was: alone, each loss has a status of its own.
        except Exception:
            places.clear()
    for index, task in enumerate(tasks):
        if index not in ended:
            yield index, fitness(task)


def alone(network: CompiledNetwork, course: Iterator) -> Evaluation:
    """Follow a course with one training after the other; see `training.places`."""
    training = None
    while True:
        try:
            wanted = course.send(training)
        except StopIteration as end:
            return end.value
        training = network.train(**wanted)
