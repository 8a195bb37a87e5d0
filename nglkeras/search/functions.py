"""A user's own function as the fitness of a search."""

from dataclasses import replace

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.search.evolution import Evaluation
from nglkeras.search.identity import fingerprint, name_of
from nglkeras.search.records import NOT_TRAINED, as_json
from nglkeras.training.outcome import STATUSES

# Names of what the journal says of a function without settings of its own.
FUNCTION_SETTINGS = ("function", "code")


class FunctionEvaluator:
    """Evaluates losses with a user's function of one expression, on an executor.

    `search` uses it as it uses a `TrialFitness`, whether or not the function has `values`,
    `classes`, `settings` and `prepare`.
    """

    def __init__(self, evaluate, executor):
        self.evaluate = evaluate
        self.executor = executor
        self.prepare = getattr(evaluate, "prepare", lambda: None)
        self.begun = None
        if not hasattr(evaluate, "values"):
            self.values = None

    @property
    def classes(self):
        """Number of classes; a worker is asked, since it may take a network to tell."""
        if "classes" not in dir(self.evaluate):
            return 10
        return self._ask("__getattribute__", "classes")

    @property
    def settings(self):
        """What the journal says of the function: its settings or, without any, its code."""
        if self.begun == {}:
            return {}
        if "settings" not in dir(self.evaluate):
            found = name_of(self.evaluate), fingerprint(self.evaluate)
            return dict(zip(FUNCTION_SETTINGS, found, strict=True))
        return self._ask("__getattribute__", "settings")

    def as_begun(self, settings):
        """Go on with a search whose journal has these settings; early ones lack the code."""
        if "settings" not in dir(self.evaluate):
            self.begun = settings

    def values(self, expression):
        """Loss of each sample of a batch of the freshly initialised model."""
        return self._ask("values", expression)

    def _ask(self, method, argument):
        (outcome,) = self.executor.run(self.evaluate, [argument], method=method)
        if outcome.failure is not None:
            raise UserError(f"no worker could build the network: {outcome.failure.message}")
        return outcome.result

    def each(self, expressions, names):
        """Yield the place and the evaluation of each loss, as they end; names do not matter."""
        for outcome in self.executor.run(self.evaluate, expressions):
            failure = outcome.failure
            evaluation = outcome.result
            if failure is not None:
                evaluation = Evaluation(failure.status, message=failure.message)
            yield outcome.index, evaluation


def normalised(outcome):
    """Return what a user's function has given as an `Evaluation` that the journal can hold.

    Raises:
        UserError: If its status is unknown, or its values are neither numbers nor JSON.
    """
    if not isinstance(outcome, Evaluation):
        outcome = Evaluation("ok", (outcome,))
    valid = [status for status in STATUSES if status not in NOT_TRAINED]
    if outcome.status not in valid:
        raise unknown("status of an evaluation", outcome.status, valid)
    try:
        fitness = tuple(_number(value) for value in np.atleast_1d(outcome.fitness))
        details = as_json(outcome.details)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the evaluation {outcome} is neither numbers nor JSON") from error
    outcome = replace(outcome, fitness=fitness, details=details, seconds=float(outcome.seconds))
    if outcome.status == "ok" and not (fitness and np.isfinite(fitness).all()):
        return replace(
            outcome, status="non_finite", fitness=(), message=f"its fitness is {fitness}"
        )
    return outcome


def _number(value):
    if np.iscomplexobj(value):
        raise TypeError("complex")
    return float(value)
