"""What the tests of searches share: a fitness without a training, and how journals are compared."""

import hashlib
import json

import pytest

from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import Evaluation, search

NGL = Expression.parse(FORMULAS["NGL"])
TINY = {"population_size": 6, "generations": 4}


def by_hash(expression):
    """A fitness that depends on the formula and on nothing else; some formulas crash."""
    digest = hashlib.sha256(str(expression).encode()).digest()
    if digest[0] < 20:
        return Evaluation("crashed", message="by chance")
    return Evaluation("ok", (int.from_bytes(digest[:4], "big") / 2**32,))


def lines(folder, name="search.jsonl"):
    """The journal's records, times aside."""
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def run(strategy, evaluate=by_hash, order=list):
    """Ask and tell to the end; the individuals in the order in which they were told."""
    history = []
    while not strategy.is_done:
        for individual in order(strategy.ask()):
            history.append(individual)
            strategy.tell(individual, evaluate(individual.expression))
    return history


def interrupt_and_resume(make_strategy, evaluate, folder, stop, **arguments):
    """Compare the journals of a whole search and of one that was interrupted and resumed.

    Returns the formulas that the second evaluated.
    """
    calls = []

    def interrupted(expression):
        calls.append(str(expression))
        if len(calls) == stop:
            raise KeyboardInterrupt
        return evaluate(expression)

    arguments["quiet"] = True
    whole = search(make_strategy(), evaluate, out=folder / "a", **arguments)
    with pytest.raises(KeyboardInterrupt):
        search(make_strategy(), interrupted, out=folder / "b", **arguments)
    resumed = search(make_strategy(), interrupted, out=folder / "b", **arguments)
    assert lines(folder / "a")[1:] == lines(folder / "b")[1:]
    assert resumed.population == whole.population
    return calls
