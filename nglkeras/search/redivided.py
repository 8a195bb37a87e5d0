"""New runs of your own network: other initial weights, your data divided anew."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial

import keras
import numpy as np
from keras.optimizers import schedules

from nglkeras.errors import UserError
from nglkeras.losses.switched import SwitchedLoss
from nglkeras.report.rates import FIRST_NEW
from nglkeras.search import samples
from nglkeras.search.given_losses import Loss, as_keras
from nglkeras.search.trainer import PARTS, Measured, Trainer
from nglkeras.seeds import derive_seed
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork

# Share of the data that is held out for tests where no test data are given.
HELD_OUT = 0.2


class RedividedTrainer(Trainer):
    """Trains the network of a `TrainingFitness` on its data, divided anew for every run.

    Train and validation data are put together; each run draws both from them, in the same sizes.
    The network is compiled once for all losses; where the learning rate follows a schedule, once
    for each rate. Such a schedule's rate is its greatest one, and another rate is a factor on it.

    Args:
        fitness: The `TrainingFitness`.
        losses: Losses by name.
        test: Test data, as the fitness takes them. `None` holds out a fifth of the fitness's data.
    """

    def __init__(self, fitness, losses: Mapping[str, Loss], test: object = None):
        fitness.check()
        self.fitness, self.losses, self.test = fitness, dict(losses), test
        self.class_reduction, self.options = fitness.class_reduction, fitness.task.options
        how = self.class_reduction, self.options
        made = {name: as_keras(loss, *how) for name, loss in losses.items()}
        self._make_loss = partial(SwitchedLoss, made)
        self.searched_runs = fitness.runs
        self.measure, self.is_share = str(fitness.measure), fitness.measure.is_share
        self.chance = fitness.chance
        train, validation = (fitness.targets(name) for name in ("train", "validation"))
        x, y = keras.tree.map_structure(lambda *both: np.concatenate(both), train, validation)
        order = np.random.default_rng(self._seed("test")).permutation(len(y))
        count = len(train[1])
        if test is None:
            held = order[: round(HELD_OUT * len(y))]
            order = order[len(held) :]
            count = round(count * (1 - HELD_OUT))
            size = fitness.compiled.schedule.batch_size
            if count < size:
                raise UserError(
                    f"without test data {len(held)} of the search's {len(y)} samples are held out, "
                    f"and {count} for training do not fill a batch of {size}: give test data, "
                    "or a smaller batch_size"
                )
            self._test = _taken(x, held), y[held]
            self.notes = (
                f"No test data were given: {len(held)} of the search's own {len(y)} samples are "
                "held out for the new runs. The search has seen them, which favours what it found.",
            )
        else:
            self._test = fitness.read("test", test)
        if fitness.depends_on_size:
            self.notes = (
                *self.notes,
                "This network has a penalty, or its optimizer decays weights or clips gradients: a "
                "loss may be better than cross entropy by its size alone, which no rate makes up.",
            )
        self._pool = x, y
        self._order, self._train_count = order, count
        schedule = fitness.compiled.schedule
        self.rate = schedule.learning_rate
        self.follows_schedule = isinstance(self.rate, dict)
        if self.follows_schedule:
            self.rate = peak(self.rate, schedule.epochs * (count // schedule.batch_size))
        self._networks: dict[float | None, CompiledNetwork] = {}
        self._run = None

    def __reduce__(self):
        return type(self), (self.fitness, self.losses, self.test)

    def check_test(self) -> None:
        """Note how many of the test data that were given are among those that are trained on.

        Once, and not in each worker: it hashes all samples.

        Raises:
            UserError: If all of them are, such as the validation data of the search.
        """
        if self.test is None:
            return
        seen = set(samples.digest_each(self._pool[0]))
        found = [one in seen for one in samples.digest_each(self._test[0])]
        if all(found):
            raise UserError(
                "all test data are among those of the search, which confirm trains on: give "
                "others, or none, and a part of them is held out"
            )
        if any(found):
            share = f"{sum(found)} of {len(found)} test samples"
            note = f"{share} are among the data of the search, which the networks train on."
            self.notes = (note, *self.notes)

    @cached_property
    def settings(self) -> dict:
        """Everything that decides a result beside loss, rate and run."""
        held = samples.digest(*self._test) if self.test is not None else HELD_OUT
        own = {"trainer": type(self).__name__, "test": held, **self.fitness.settings}
        # Here Keras' `fit` trains on TensorFlow.
        own.pop("one_program", None)
        return own

    def __call__(self, name: str, loss: Loss, *, learning_rate: float, run: int) -> Measured:
        """Train a network."""
        if run != self._run:
            # Weights and data of a run are large, and runs come one after the other.
            for network in self._networks.values():
                network.forget_others(run)
            self._run = run
        compiled = self._compiled(learning_rate if self.follows_schedule else None)
        training = compiled.train(
            name,
            run,
            learning_rate=None if self.follows_schedule else learning_rate,
            timeout=self.fitness.timeout,
            callbacks=self.fitness.callbacks(),
        )
        is_tested = training.status == "ok" and run >= FIRST_NEW
        return Measured(
            training.status,
            training.validation_accuracy,
            training.accuracy,
            training.seconds,
            training.message,
            tuple(compiled.tested_in_parts(run, PARTS)) if is_tested else (),
        )

    def _seed(self, what, run=0):
        return derive_seed(self.fitness.seed, f"confirm/{what}", run)

    def _compiled(self, rate):
        """Return the network for all losses, at a rate if the optimizer follows a schedule."""
        if rate not in self._networks:
            self._networks[rate] = self._compile(rate)
        return self._networks[rate]

    def _compile(self, rate):
        own, schedule = self.fitness.compiled, self.fitness.compiled.schedule
        if rate is not None:
            scaled = Scaled(schedules.deserialize(schedule.learning_rate), rate / self.rate)
            schedule = replace(schedule, learning_rate=schedules.serialize(scaled))
        compiled = CompiledNetwork(
            self._build,
            self._streams,
            schedule,
            self._make_loss,
            replicas=own.replicas,
            validate=own.validate,
            bound=own.bound,
            one_program=own.one_program and "auto",
        )
        compiled.measure = own.measure
        return compiled

    def _build(self, run):
        keras.utils.set_random_seed(self._seed("model", run))
        return self.fitness.build()

    @cached_property
    def _test_stream(self):
        return self.fitness.held(*self._test)

    def _streams(self, run):
        x, y = self._pool
        order = np.random.default_rng(self._seed("split", run)).permutation(self._order)
        train, held = order[: self._train_count], order[self._train_count :]
        schedule = self.fitness.compiled.schedule
        data, steps = streams.training(
            _taken(x, train),
            y[train],
            batch_size=schedule.batch_size,
            epochs=schedule.epochs,
            seed=self._seed("order", run),
            classes=self.fitness.task.one_hot_classes,
        )
        validation = self.fitness.held(_taken(x, held), y[held])
        # What chooses a rate must not look at the test data.
        test = self._test_stream if run >= FIRST_NEW else None
        return streams.Streams(data, validation, steps, test)


@keras.saving.register_keras_serializable("nglkeras")
class Scaled(schedules.LearningRateSchedule):
    """A schedule of learning rates times a factor.

    Args:
        schedule: The schedule.
        factor: The factor.
    """

    def __init__(self, schedule: schedules.LearningRateSchedule, factor: float):
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        """Return the rate of a step."""
        return self.factor * self.schedule(step)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {"schedule": schedules.serialize(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict) -> "Scaled":
        """Return the schedule of a config."""
        return cls(schedules.deserialize(config["schedule"]), config["factor"])


def peak(schedule: dict, steps: int) -> float:
    """Return the greatest learning rate that a serialised schedule has in a training."""
    rates = schedules.deserialize(schedule)
    some = np.unique(np.linspace(0, max(steps - 1, 0), 100).astype(int))
    return max(float(keras.ops.convert_to_numpy(rates(int(step)))) for step in some)


def _taken(x, rows):
    return keras.tree.map_structure(lambda array: array[rows], x)
