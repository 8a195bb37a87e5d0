"""Table B.2.2 of paper A: networks that start from weights of another task.

The demonstration has no ImageNet: its small network is first trained with cross entropy to tell
by how many quarter turns a digit is turned, and then fine-tuned on the digits.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments import classification, earlier, options
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.experiment import AccuracyTable
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.experiments.script import chosen_settings
from nglkeras.report import output
from nglkeras.runs.trial import TrialResult

_PREFIX, _SUFFIX = "turned_digits_", ".weights.h5"


class PretrainedTable(AccuracyTable):
    """Table B.2.2."""

    def add_options(self, parser):
        """Add the option for the weights to those of table 2."""
        super().add_options(parser)
        parser.add_argument("--weights", help="imagenet, or a .weights.h5 file of the backbone")

    def weights(self, args, scale):
        """Return what the backbones start from; the small network's trunks are trained first."""
        if args.weights is not None or scale.models != ("small_cnn",):
            if args.weights is None and "small_cnn" in scale.models:
                others = " ".join(name for name in scale.models if name != "small_cnn")
                raise UserError(
                    "small_cnn starts from turned digits and the others from ImageNet: give "
                    f"--models small_cnn or --models {others}"
                )
            return args.weights or "imagenet"
        folder = output.folder(args, self.name, scale.name)
        trials = pretraining(args.seed, scale.runs, scale.splits)
        files = weights_of(trials, folder, chosen_settings(args))
        with output.writing_to(folder), options.make_executor(args) as executor:
            folder.mkdir(parents=True, exist_ok=True)
            for path, trial in files.items():
                if not path.is_file():
                    pretrain(path.resolve(), trial, executor, args.timeout)
        return list(map(str, files))


TABLE_B22 = PretrainedTable("table_b22", "Table B.2.2: accuracy after pre-training")


def pretraining(seed: int, runs: int, splits: str | None = None) -> list[Trial]:
    """Plan the small network's training on each run's turned digits.

    They are divided as the run divides the digits: no test image is seen.
    """
    demo = protocol.TABLE2_SCALES["demo"]
    scale = replace(demo, datasets=("digits_turned",), runs=runs, splits=splits)
    return plan(scale, ["CE"], seed=seed)


def weights_of(trials: list[Trial], folder: Path, chosen: list[str]) -> dict[Path, Trial]:
    """Name the file of each pre-trained trunk, by the trial that leaves it behind.

    A folder with files of an earlier version goes on with that version's trials; `chosen` is as in
    `earlier.settings_of`.
    """
    files = folder.glob(f"{_PREFIX}*{_SUFFIX}")
    there = [path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for path in files]
    begun = earlier.settings_of(trials, there, chosen=chosen)
    # By what they were trained on: weights from another split have seen other images.
    return {folder / f"{_PREFIX}{trial.key}{_SUFFIX}": trial for trial in map(begun, trials)}


def train_trunk(path: Path, timeout: float | None, trial: Trial) -> TrialResult:
    """Train the small network on turned digits, and save its trunk's weights."""

    def save(model):
        # Under another name, of this process, until it is whole: a file that is there can be
        # trusted.
        part = path.with_name(f"part{os.getpid()}-{path.name}")
        model.get_layer("small_trunk").save_weights(part)
        part.replace(path)

    return classification.shared_networks.run_trial(trial, on_model=save, timeout=timeout)


def pretrain(path: Path, trial: Trial, executor: Executor, timeout: float | None = None) -> None:
    """Have the small network's trunk trained on turned digits."""
    print(f"pre-training on turned digits for run {trial.run + 1} ...")
    (outcome,) = executor.run(partial(train_trunk, path, timeout), [trial])
    ended = outcome.failure or outcome.result
    if ended.status != "ok":
        raise UserError(f"pre-training ended as {ended.status}: {ended.message}")
    accuracy = 100 * outcome.result.accuracy
    print(f"turns are told with {accuracy:.1f} % accuracy; weights in {path}")
