"""Table B.2.2 of paper A: test accuracy of pre-trained networks fine-tuned with each loss.

    python reproduce/table_b22.py                    a demonstration: digits, minutes on two cores
    python reproduce/table_b22.py --scale reduced    from ImageNet weights, Fashion-MNIST and
                                                     CIFAR-10; sized for an hour on a GPU
    python reproduce/table_b22.py --scale paper      630 networks: the full protocol
    python reproduce/table_b22.py --weights FILE     from a .weights.h5 file of the backbone

The demonstration has no ImageNet: its small network is first trained with cross entropy to
tell by how many quarter turns a digit is turned, and then fine-tuned on the digits. Everything
else is as in table2.py.
"""

from functools import partial
from pathlib import Path

from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments import cli, earlier
from nglkeras.experiments.classification import accuracy, protocol
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.report import output
from nglkeras.runs.trial import TrialResult


def pretraining(seed: int, runs: int, splits: str | None = None) -> list[Trial]:
    """Plan the small network's training on each run's turned digits.

    They are divided as the run divides the digits: no test image is seen.
    """
    scale = protocol.Scale(
        "pretraining", "", ("digits_turned",), ("small_cnn",), runs=runs, splits=splits
    )
    return plan(scale, ["CE"], seed=seed)


def weights_of(trials: list[Trial], folder: Path, chosen: list[str]) -> dict[Path, Trial]:
    """Name the file of each pre-trained trunk, by the trial that leaves it behind.

    A folder with files of an earlier version goes on with that version's trials.

    Args:
        trials: Of `pretraining`.
        folder: Where the files are.
        chosen: As in `accuracy.as_begun`.
    """
    prefix, suffix = "turned_digits_", ".weights.h5"
    there = [
        path.name.removeprefix(prefix).removesuffix(suffix)
        for path in folder.glob(f"{prefix}*{suffix}")
    ]
    trials = map(earlier.settings_of(trials, there, chosen=chosen), trials)
    # By what they were trained on: weights from another split have seen other images.
    return {folder / f"{prefix}{trial.key}{suffix}": trial for trial in trials}


def train_trunk(path: Path, trial: Trial) -> TrialResult:
    """Train the small network on turned digits, and save its trunk's weights."""
    from nglkeras.experiments.classification.training import run_trial

    def save(model):
        # Under another name until it is whole: a file that is there can be trusted.
        part = path.with_name(f"part-{path.name}")
        model.get_layer("small_trunk").save_weights(part)
        part.replace(path)

    return run_trial(trial, on_model=save)


def pretrain(path: Path, trial: Trial, executor: Executor) -> None:
    """Have the small network's trunk trained on turned digits."""
    print(f"pre-training on turned digits for run {trial.run + 1} ...")
    (outcome,) = executor.run(partial(train_trunk, path), [trial])
    ended = outcome.failure or outcome.result
    if ended.status != "ok":
        raise UserError(f"pre-training ended as {ended.status}: {ended.message}")
    accuracy = 100 * outcome.result.accuracy
    print(f"turns are told with {accuracy:.1f} % accuracy; weights in {path}")


def main():
    """Run the script."""
    parser = cli.Parser(__doc__)
    accuracy.add_options(parser, "table_b22")
    parser.add_argument("--weights", help="imagenet, or a .weights.h5 file of the backbone")
    args = parser.parse_args()
    scale = accuracy.chosen_scale(args)
    weights = args.weights or "imagenet"
    if args.weights is None and scale.models == ("small_cnn",):
        folder = output.folder(args, "table_b22", scale.name)
        trials = pretraining(args.seed, scale.runs, scale.splits)
        files = weights_of(trials, folder, accuracy.chosen_settings(args))
        weights = list(map(str, files))
        with output.writing_to(folder), cli.make_executor(args) as executor:
            folder.mkdir(parents=True, exist_ok=True)
            for path, trial in files.items():
                if not path.is_file():
                    pretrain(path.resolve(), trial, executor)
    title = "Table B.2.2: accuracy after pre-training"
    accuracy.accuracy_table(args, "table_b22", title, weights=weights)


if __name__ == "__main__":
    cli.run(main)
