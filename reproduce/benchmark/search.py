"""A search's candidate: on a compiled network, on one compiled anew, and its bare steps.

A whole candidate is the network's reset, its steps, its validation and its row in a journal. The
lower bound is its bare steps: the compiled step itself, called again and again on one batch,
without `fit`, data or validation. The images are random: nothing is learnt here.
"""

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

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
from nglkeras.training.outcome import Training
from nglkeras.training.schedule import Schedule

CLASSES = 10
LOSSES = [Expression.parse(formula) for formula in FORMULAS.values()]
ANEW = "built and compiled anew"


@dataclass(frozen=True)
class Setting:
    """A network and the training of a candidate.

    Attributes:
        model: Name of the network.
        size: Height and width of the images, in pixels.
        batch_size: Images a step.
        steps: Steps of a candidate.
        held: Images to validate with.
    """

    model: str
    size: int
    batch_size: int
    steps: int
    held: int


SETTINGS = {
    "small_cnn": Setting("small_cnn", 28, 32, 100, 512),
    "InceptionV3": Setting("InceptionV3", 75, 32, 20, 64),
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
            found += _overheads(ways, rounds)
            found += _steady_steps(ways, 5 * rounds)
    return found


class _Ways:
    """The ways of training one network with a candidate loss."""

    def __init__(self, setting, folder):
        self.setting = setting
        size = setting.batch_size
        self.title = f"{setting.model}, {setting.size} x {setting.size}, batch {size}"
        random = np.random.default_rng(0)
        shape = (size * 8, setting.size, setting.size, 3)
        self.x = random.integers(0, 256, shape, dtype="uint8")
        self.y = np.eye(CLASSES, dtype="float32")[random.integers(0, CLASSES, len(self.x))]
        self.schedule = Schedule(1, size, plateau=None, steps_per_epoch=setting.steps)
        self.network = CompiledNetwork(self.build, self.make_streams, self.schedule)
        self.journal = Journal(folder / "journal.jsonl")
        self.batch = tf.constant(self.x[:size], tf.float32), tf.constant(self.y[:size])

    def build(self, run):
        keras.utils.set_random_seed(run)
        size = self.setting.size
        return models.build(self.setting.model, (size, size, 3), CLASSES)

    def make_streams(self, run):
        size, held = self.setting.batch_size, self.setting.held
        finish = partial(tf.cast, dtype=tf.float32)
        data, steps = streams.training(
            self.x,
            self.y,
            batch_size=size,
            epochs=1,
            seed=run,
            steps_per_epoch=self.setting.steps,
            finish=finish,
        )
        validation = streams.evaluation(
            self.x[:held], self.y[:held], batch_size=size, finish=finish
        )
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

    def on_compiled_network(self, expression):
        self.record(expression, self.network.train(expression))

    def anew(self, expression):
        """Train a new network; its optimizer is built first, so that `fit` traces once."""
        keras.utils.clear_session()
        gc.collect()
        model = self.compiled(expression)
        data = self.make_streams(0)
        model.fit(data.train, epochs=1, steps_per_epoch=data.steps, shuffle=False, verbose=0)
        accuracy = model.evaluate(data.validation, verbose=0, return_dict=True)["accuracy"]
        self.record(expression, Training("ok", validation_accuracy=accuracy))

    def compiled(self, expression):
        model = self.build(0)
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
        data = iter(tf.data.Dataset.from_tensors(self.batch).repeat())
        step = self.network.model.train_function
        for _ in range(self.setting.steps // steps_per_execution(self.setting.steps, 1)):
            logs = step(data)
        [np.asarray(value) for value in tf.nest.flatten(logs)]

    def step(self, model):
        model.train_on_batch(*self.batch)


def _loss(number):
    return LOSSES[number % len(LOSSES)]


def _candidates(ways, rounds):
    network = ways.network
    network.train(LOSSES[0])
    traces = network.loss.traces

    def on_compiled_network(number):
        # A search compiles nothing in between. What was compiled has made TensorFlow forget what
        # it had prepared of the compiled network's steps.
        network.train(_loss(number - 1))
        return seconds_of(partial(ways.on_compiled_network, _loss(number)))

    contestants = {
        ANEW: lambda number: seconds_of(partial(ways.anew, _loss(number))),
        "on the workbench": on_compiled_network,
        "bare steps": lambda number: seconds_of(partial(ways.bare_steps, _loss(number))),
    }
    seconds = interleaved(contestants, rounds=rounds, warm_up=False, what=ways.setting.model)
    if network.loss.traces != traces:
        raise RuntimeError("the compiled network traced its loss again")
    return compared(f"{ways.title}: a candidate of {ways.setting.steps} steps", seconds, ANEW)


def _overheads(ways, rounds):
    """Measure from a new loss to the end of its first step, less a steady step."""
    network, direct = ways.network, ways.build(0)
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
    return compared(f"{ways.title}: overhead of a candidate", seconds, "compiled anew")


def _steady_steps(ways, rounds):
    direct = ways.compiled(LOSSES[0])
    ways.network.reset(LOSSES[0])
    contestants = {
        "traced loss": timed(partial(ways.step, direct)),
        "interpreted loss": timed(partial(ways.step, ways.network.model)),
    }
    seconds = interleaved(contestants, rounds=rounds, what="a steady step")
    return compared(f"{ways.title}: a steady step", seconds, "traced loss")
