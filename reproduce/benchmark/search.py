"""A search's candidate: on a compiled network, on one compiled anew, and its bare steps.

A whole candidate is the network's reset, its steps, its validation and its row in a journal. The
lower bound is its bare steps: the compiled step itself, called again and again on one batch,
without `fit`, data or validation. The dense network learns scikit-learn's digits; the images of the
others are random: nothing is learnt from them.

On TensorFlow a network that the rule of `training.compiled_epochs` takes is trained by compiled
epochs, too. On JAX each network is trained with `fit` and as one program, and nothing else is
measured.
"""

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from benchmark.measure import Measurement, compared, interleaved, seconds_of, timed
from nglkeras.errors import unknown
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.trial import Trial
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.runs.attempt import make_row
from nglkeras.runs.journal import Journal
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork, steps_per_execution
from nglkeras.training.optimizer import make_optimizer
from nglkeras.training.outcome import COMPILED_EPOCHS, ONE_PROGRAM, Training
from nglkeras.training.schedule import Schedule

CLASSES = 10
LOSSES = [Expression.parse(formula) for formula in FORMULAS.values()]
ANEW, COMPILED_ONCE = "built and compiled anew", "on the workbench"
DENSE = "64-32-10"


@dataclass(frozen=True)
class Setting:
    """A network and the training of a candidate.

    Attributes:
        model: Name of the network; "64-32-10" has one hidden layer of 32 units, on digits.
        size: Height and width of the images, in pixels.
        batch_size: Images a step.
        steps: Steps of a candidate.
        held: Images to validate with.
        epochs: Epochs that the steps are divided into.
    """

    model: str
    size: int
    batch_size: int
    steps: int
    held: int
    epochs: int = 1

    @property
    def title(self) -> str:
        """Network, size and batch."""
        return f"{self.model}, {self.size} x {self.size}, batch {self.batch_size}"

    def build(self, run: int) -> keras.Model:
        """Return the network of a run."""
        keras.utils.set_random_seed(run)
        if self.model != DENSE:
            return models.build(self.model, (self.size, self.size, 3), CLASSES)
        layers = keras.layers.Dense(32, "relu"), keras.layers.Dense(CLASSES, "softmax")
        return keras.Sequential([keras.Input((self.size**2,)), *layers])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images and one-hot labels."""
        if self.model == DENSE:
            x, labels = load_digits(return_X_y=True)
            x = x / 16
        else:
            random = np.random.default_rng(0)
            x = random.integers(0, 256, (self.batch_size * 8, self.size, self.size, 3))
            labels = random.integers(0, CLASSES, len(x))
        return x.astype("float32"), np.eye(CLASSES, dtype="float32")[labels]


SETTINGS = {
    "small_cnn": Setting("small_cnn", 28, 32, 100, 512),
    "InceptionV3": Setting("InceptionV3", 75, 32, 20, 64),
    "digits": Setting(DENSE, 8, 32, 200, 360, epochs=5),
}


def measure(rounds: int, names: Sequence[str] | None = None) -> list[Measurement]:
    """Measure candidates, what they cost beside their steps, and a steady step, by network."""
    names = names or tuple(SETTINGS)
    for name in names:
        if name not in SETTINGS:
            raise unknown("model", name, SETTINGS)
    found = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            ways = _Ways(SETTINGS[name], Path(folder))
            found += _candidates(ways, rounds)
            if _on_tensorflow():
                found += _overheads(ways, rounds)
                found += _steady_steps(ways, 5 * rounds)
    return found


def _on_tensorflow():
    return keras.backend.backend() == "tensorflow"


class _Ways:
    """The ways of training one network with a candidate loss."""

    def __init__(self, setting, folder):
        self.setting = setting
        self.x, self.y = setting.data()
        epochs = setting.epochs
        self.schedule = Schedule(
            epochs, setting.batch_size, plateau=None, steps_per_epoch=setting.steps // epochs
        )
        self.network = self.compiled_once(False)
        self.journal = Journal(folder / "journal.jsonl")
        self.batch = self.x[: setting.batch_size], self.y[: setting.batch_size]

    def compiled_once(self, one_program):
        return CompiledNetwork(
            self.setting.build, self.make_streams, self.schedule, one_program=one_program
        )

    def make_streams(self, run):
        size, held, epochs = self.setting.batch_size, self.setting.held, self.setting.epochs
        data, steps = streams.training(
            self.x,
            self.y,
            batch_size=size,
            epochs=epochs,
            seed=run,
            steps_per_epoch=self.setting.steps // epochs,
        )
        validation = streams.evaluation(self.x[:held], self.y[:held], batch_size=size)
        return streams.Streams(data, validation, steps)

    def record(self, expression, training):
        trial = Trial(
            dataset="digits",
            model=self.setting.model,
            loss="candidate",
            formula=str(expression),
            schedule=self.schedule,
            test=False,
        )
        self.journal.append(make_row(trial, **vars(training)))

    def on_compiled_network(self, network, expression):
        training = network.train(expression)
        if training.status == "crashed":
            raise RuntimeError(training.message)
        self.record(expression, training)

    def anew(self, expression):
        """Train a new network; its optimizer is built first, so that `fit` traces once."""
        keras.utils.clear_session()
        gc.collect()
        model = self.compiled(expression)
        data = self.make_streams(0)
        epochs = self.setting.epochs
        model.fit(data.train, epochs=epochs, steps_per_epoch=data.steps, shuffle=False, verbose=0)
        accuracy = model.evaluate(data.validation, verbose=0, return_dict=True)["accuracy"]
        self.record(expression, Training("ok", validation_accuracy=accuracy))

    def compiled(self, expression):
        model = self.setting.build(0)
        model.compile(
            make_optimizer(self.schedule),
            expression.to_loss(),
            weighted_metrics=["accuracy"],
            # Tracing more steps an execution would cost one candidate more than it saves.
            steps_per_execution=1,
        )
        model.optimizer.build(model.trainable_variables)
        return model

    def bare_steps(self, expression):
        """Call the compiled step alone, as often as a candidate does."""
        # It needs TensorFlow.
        import tensorflow as tf

        data = iter(tf.data.Dataset.from_tensors(self.batch).repeat())
        step, of_an_epoch = self.network.model.train_function, self.schedule.steps_per_epoch
        for _ in range(self.setting.steps // steps_per_execution(of_an_epoch, 1)):
            logs = step(data)
        [np.asarray(value) for value in tf.nest.flatten(logs)]

    def step(self, model):
        model.train_on_batch(*self.batch)


def _loss(number):
    return LOSSES[number % len(LOSSES)]


def _candidates(ways, rounds):
    networks = {COMPILED_ONCE: ways.network} | _in_one_program(ways)
    for network in networks.values():
        network.train(LOSSES[0])
    traces = [network.loss.traces for network in networks.values()]

    def on_compiled_network(network, number):
        # A search compiles nothing in between. What was compiled has made TensorFlow forget what
        # it had prepared of the compiled network's steps.
        network.train(_loss(number - 1))
        return seconds_of(partial(ways.on_compiled_network, network, _loss(number)))

    contestants = {
        name: partial(on_compiled_network, network) for name, network in networks.items()
    }
    if _on_tensorflow():
        anew = {ANEW: lambda number: seconds_of(partial(ways.anew, _loss(number)))}
        bare = {"bare steps": lambda number: seconds_of(partial(ways.bare_steps, _loss(number)))}
        contestants = anew | contestants | bare
    setting = ways.setting
    seconds = interleaved(contestants, rounds=rounds, warm_up=False, what=setting.model)
    if [network.loss.traces for network in networks.values()] != traces:
        raise RuntimeError("the compiled network traced its loss again")
    case = f"{setting.title}: a candidate of {setting.steps} steps"
    return compared(case, seconds, COMPILED_ONCE if len(networks) > 1 else ANEW)


def _in_one_program(ways):
    """Return the other networks that are compiled once, by the name of their row."""
    if _on_tensorflow():
        # It needs TensorFlow.
        from nglkeras.training import compiled_epochs

        if not compiled_epochs.is_faster(ways.setting.build(0), ways.setting.steps):
            return {}
    name = COMPILED_EPOCHS if _on_tensorflow() else ONE_PROGRAM
    return {name: ways.compiled_once(True)}


def _overheads(ways, rounds):
    """Measure from a new loss to the end of its first step, less a steady step."""
    network, direct = ways.network, ways.setting.build(0)
    steady_step = partial(ways.step, network.model)
    network.reset(LOSSES[0])
    steady_step()

    def compile_anew(expression):
        direct.compile(make_optimizer(ways.schedule), expression.to_loss())
        direct.optimizer.build(direct.trainable_variables)
        ways.step(direct)

    def reset(expression):
        network.reset(expression)
        steady_step()

    def overhead(way, number):
        taken = seconds_of(partial(way, _loss(number)))
        gc.collect()
        steady_step()
        # Its own steady step for each: their speed changes with the machine's load.
        steady = min(seconds_of(steady_step) for _ in range(3))
        return max(taken - steady, 1e-6)

    contestants = {
        "compiled anew": partial(overhead, compile_anew),
        "reset": partial(overhead, reset),
    }
    seconds = interleaved(contestants, rounds=rounds, warm_up=False, what="overhead")
    return compared(f"{ways.setting.title}: overhead of a candidate", seconds, "compiled anew")


def _steady_steps(ways, rounds):
    direct = ways.compiled(LOSSES[0])
    ways.network.reset(LOSSES[0])
    contestants = {
        "traced loss": timed(partial(ways.step, direct)),
        "interpreted loss": timed(partial(ways.step, ways.network.model)),
    }
    seconds = interleaved(contestants, rounds=rounds, what="a steady step")
    return compared(f"{ways.setting.title}: a steady step", seconds, "traced loss")
