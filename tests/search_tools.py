"""What the tests of searches share: a fitness without a training, and how journals are compared."""

import hashlib
import json

from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import Evaluation

NGL = Expression.parse(FORMULAS["NGL"])


TINY = {"population_size": 6, "generations": 4}


def by_hash(expression):
    """A fitness that depends on the formula and on nothing else."""
    digest = hashlib.sha256(str(expression).encode()).digest()
    if digest[0] < 20:
        return Evaluation("crashed", message="by chance")
    return int.from_bytes(digest[:4], "big") / 2**32


def lines(folder, name="search.jsonl"):
    """The journal's records, times aside."""
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def run(strategy, evaluate=by_hash, order=list):
    """Ask and tell to the end; the individuals in the order in which they were told."""
    history = []
    while not strategy.is_done:
        for individual in order(strategy.ask()):
            outcome = evaluate(individual.expression)
            if not isinstance(outcome, Evaluation):
                outcome = Evaluation("ok", (outcome,))
            history.append(individual)
            strategy.tell(individual, outcome)
    return history
