"""A search's candidate: its time on a compiled network, compiled anew, and for bare steps.

A whole candidate is the network's reset, its steps, its validation and its row in a journal. The
least it could take is its bare steps: the compiled step itself, called again and again on one
batch, without `fit`, data or validation. The images are random: nothing is learnt here.
"""

import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from nglkeras.benchmarks.measure import Measurement, compared
from nglkeras.errors import unknown
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.shared_networks import row_of
from nglkeras.experiments.classification.trial import Trial
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.runs.journal import Journal
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.optimizer import make_optimizer
from nglkeras.training.outcome import Training
from nglkeras.training.schedule import Schedule
from nglkeras.training.steps import steps_per_execution

CLASSES = 10
LOSSES = [Expression.parse(formula) for formula in FORMULAS.values()]
ANEW = "built and compiled anew"


@dataclass(frozen=True)
class Setting:
    """A network and its training.

    Attributes:
        model: One of `models.NAMES`.
        size: Height and width of the images, in pixels.
        batch_size: Images a step.
        steps: Of a candidate.
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


def measure(rounds: int, names: Sequence[str] = tuple(SETTINGS)) -> list[Measurement]:
    """Whole candidates, what comes on top of their steps, and a steady step, network by network."""
    for name in names:
        if name not in SETTINGS:
            raise unknown("model", name, SETTINGS)
    found = []
    for name in names:
        found += _measure(SETTINGS[name], rounds)
    return found


class _Contest:
    """The ways of training one network with a candidate loss."""

    def __init__(self, setting, folder):
        self.setting = setting
        random = np.random.default_rng(0)
        shape = (setting.batch_size * 8, setting.size, setting.size, 3)
        self.x = random.integers(0, 256, shape, dtype="uint8")
        self.y = np.eye(CLASSES, dtype="float32")[random.integers(0, CLASSES, len(self.x))]
        self.schedule = Schedule(1, setting.batch_size, plateau=None, steps_per_epoch=setting.steps)
        self.network = CompiledNetwork(self.build, self.make_streams, self.schedule)
        self.journal = Journal(folder / "journal.jsonl")
        self.batch = (
            tf.constant(self.x[: setting.batch_size], tf.float32),
            tf.constant(self.y[: setting.batch_size]),
        )

    def build(self, run):
        keras.utils.set_random_seed(run)
        size = self.setting.size
        return models.build(self.setting.model, (size, size, 3), CLASSES)

    def make_streams(self, run):
        def finish(images):
            return tf.cast(images, tf.float32)

        size, held = self.setting.batch_size, self.setting.held
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
        self.journal.append(row_of(trial, training))

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
            # What is compiled for one candidate does not get back what more costs to trace.
            steps_per_execution=1,
        )
        model.optimizer.build(model.trainable_variables)
        return model

    def bare_steps(self, expression):
        """The compiled step alone, as often as a candidate takes it."""
        data = iter(tf.data.Dataset.from_tensors(self.batch).repeat())
        step = self.network.model.train_function
        for _ in range(self.setting.steps // steps_per_execution(self.setting.steps, 1)):
            logs = step(data)
        [np.asarray(value) for value in tf.nest.flatten(logs)]


def _measure(setting, rounds):
    with tempfile.TemporaryDirectory() as folder:
        contest = _Contest(setting, Path(folder))
        network = contest.network
        network.train(LOSSES[0])
        traces = network.loss.traces
        ways = {
            ANEW: contest.anew,
            "on the workbench": contest.on_compiled_network,
            "bare steps": contest.bare_steps,
        }
        whole = {way: [] for way in ways}
        for i in tqdm(range(rounds), desc=setting.model, leave=False):
            for way, train in ways.items():
                if way == "on the workbench":
                    # A search compiles nothing in between. What was compiled has made TensorFlow
                    # forget what it had prepared of the compiled network's steps.
                    network.train(LOSSES[i - 1])
                whole[way].append(_time(partial(train, LOSSES[i % len(LOSSES)])))
        if network.loss.traces != traces:
            raise RuntimeError("the compiled network traced its loss again")
        what = f"{setting.model}, {setting.size} x {setting.size}, batch {setting.batch_size}"
        case = f"{what}: a candidate of {setting.steps} steps"
        found = compared(case, _arrays(whole), ANEW)
        found += _overheads(contest, what, rounds)
        found += _steady_steps(contest, what, 5 * rounds)
        return found


def _overheads(contest, what, rounds):
    """From a new loss to the end of its first step, less a steady step."""
    network = contest.network

    def step(model):
        model.train_on_batch(*contest.batch)

    network.reset(LOSSES[0])
    step(network.model)
    direct = contest.build(0)
    seconds = {"compiled anew": [], "reset": []}
    for i in range(rounds):
        expression = LOSSES[i % len(LOSSES)]

        def compile_anew(expression=expression):
            direct.compile(make_optimizer(contest.schedule), expression.to_loss())
            direct.optimizer.build(direct.trainable_variables)
            step(direct)

        def reset(expression=expression):
            network.reset(expression)
            step(network.model)

        anew = _time(compile_anew)
        gc.collect()
        step(network.model)
        # Its own steady step each: their speed changes with the machine's other work.
        steady = min(_time(partial(step, network.model)) for _ in range(3))
        seconds["compiled anew"].append(anew - steady)
        seconds["reset"].append(max(_time(reset) - steady, 1e-6))
    return compared(f"{what}: overhead of a candidate", _arrays(seconds), "compiled anew")


def _steady_steps(contest, what, rounds):
    network, direct = contest.network, contest.compiled(LOSSES[0])
    network.reset(LOSSES[0])
    seconds = {"traced loss": [], "interpreted loss": []}
    for i in range(rounds + 1):
        for name, model in zip(seconds, (direct, network.model), strict=True):
            taken = _time(lambda model=model: model.train_on_batch(*contest.batch))
            if i:
                seconds[name].append(taken)
    return compared(f"{what}: a steady step", _arrays(seconds), "traced loss")


def _arrays(seconds):
    return {name: np.array(times) for name, times in seconds.items()}


def _time(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
