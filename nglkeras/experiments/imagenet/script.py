"""What the scripts of table 3 and figure 2 share: options, and running their trials."""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

# What needs Keras, Matplotlib or pandas is reached through it after parsing: see `lazy`.
from nglkeras import training
from nglkeras.experiments import cli, imagenet
from nglkeras.experiments.imagenet.protocol import SCALES, ImageNetScale, ImageNetTrial, plan
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.runs.runner import pending, run_trials
from nglkeras.runs.trial import TrialResult
from nglkeras.training.schedule import PRECISIONS

_CHANGED = (
    *("dataset", "models", "figure_model", "runs", "epochs", "batch_size"),
    *("train_images", "evaluation_images", "image_size"),
)
SILENT = (
    "Where the paper is silent, our choices are Swin's augmentation for the ResNets too, gradients "
    "of Swin cut to a norm of 5, an L2 "
    "factor of 1e-4 for CE (which alone has it and label smoothing 0.1, as the paper says; all "
    "have AdamW's weight decay), and symmetric cross entropy's α 6, β 0.1 from 100 classes on, "
    "else 0.1 and 1."
)


def parser(doc: str) -> cli.Parser:
    """A parser with the options that both take."""
    made = cli.Parser(doc)
    add = made.add_argument
    add("--scale", default="demo", help=f"one of: {', '.join(SCALES)} (default: demo)")
    add("--dataset", metavar="NAME", help="digits, folder, or a TFDS image data set by name")
    add("--losses", nargs="+", metavar="NAME", help="which losses (default: the paper's)")
    add("--runs", type=cli.positive, help="networks for each model and loss")
    add("--epochs", type=cli.positive, help="upper limit on epochs; the warm-up keeps its share")
    add(
        "--batch-size",
        type=cli.positive,
        help="upper limit on images a batch; the learning rate changes by the root of the ratio",
    )
    add("--train-images", type=cli.positive, help="upper limit on training images")
    add("--evaluation-images", type=cli.positive, help="upper limit on evaluation images")
    add("--image-size", type=cli.positive, help="height and width of a network's input, in pixels")
    add("--precision", default="float32", help=f"one of: {', '.join(PRECISIONS)}")
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    # Of both: figure 2's networks are among table 3's.
    output.add_out_option(made, "table3")
    add(
        "--data-dir",
        type=cli.folder,
        help="TFDS' folder (default: TFDS_DATA_DIR); with --dataset folder, the one that holds "
        "train/CLASS/* and val/CLASS/*",
    )
    output.add_figure_options(made)
    cli.add_executor_options(made)
    return made


def chosen_scale(args: argparse.Namespace) -> ImageNetScale:
    """The scale that the options name."""
    return cli.chosen_scale(args, SCALES, _CHANGED)


def folder(args: argparse.Namespace) -> Path:
    """Where results go."""
    return output.folder(args, "table3", args.scale)


def trained(
    args: argparse.Namespace, scale: ImageNetScale
) -> tuple[list[ImageNetTrial], dict[str, TrialResult]]:
    """The trials of a scale and their rows; what the journal does not have is trained.

    Args:
        args: The script's options.
        scale: What to train.
    """
    classes, files = imagenet.sources.describe(scale.dataset, args.data_dir)
    trials = plan(
        scale,
        args.losses,
        classes=classes,
        seed=args.seed,
        precision=args.precision,
        files=files,
    )
    with cli.make_executor(args) as executor:
        trials = [
            replace(trial, replicas=cli.count_replicas(args, executor, trial.schedule.batch_size))
            for trial in trials
        ]
        return trials, _rows(args, trials, executor)


def _rows(args, trials, executor):
    out = folder(args)
    checkpoints = training.checkpoint.Checkpoints(out / "checkpoints")
    journal = Journal(out / "journal.jsonl", partial(print, file=sys.stderr), checkpoints)
    results = journal.results()
    missing = pending(trials, results)
    if not missing:
        return results
    first = missing[0]
    imagenet.sources.prepare(first.dataset, args.data_dir)
    found = imagenet.sources.survey(
        first.dataset,
        args.data_dir,
        seed=first.seed,
        train_images=first.train_images,
        evaluation_images=first.evaluation_images,
    )
    cli.tell(*found)
    print(f"{len(missing)} of {len(trials)} trials to run; rows go to {journal.path}", flush=True)
    places = {"data_dir": args.data_dir, "checkpoints": checkpoints}
    run = partial(imagenet.training.run_trial, timeout=args.timeout, **places)
    return run_trials(trials, journal, run, executor=executor)
