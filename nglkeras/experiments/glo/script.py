"""What the scripts of paper B's experiments share: their options, and running their trials."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

# What needs Keras, Matplotlib or pandas is reached through it after parsing: see `lazy`.
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments import cli
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.glo import protocol
from nglkeras.experiments.glo.protocol import LOSSES, SCALES, GLOScale
from nglkeras.report import output, tables
from nglkeras.runs.trial import TrialResult
from nglkeras.training.schedule import PRECISIONS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Fields of a scale that options change.
_CHANGED = (
    *("runs", "steps", "evaluate_every", "train_images", "evaluation_images"),
    *("portions", "portion_runs", "durations"),
    *("search_steps", "population", "generations", "coefficient_generations", "draws"),
)


def parser(doc: str) -> cli.Parser:
    """A parser with the options that all of them take."""
    made = cli.Parser(doc)
    add = made.add_argument
    add("--scale", default="demo", help=f"one of: {', '.join(SCALES)} (default: demo)")
    add(
        "--class-reduction",
        default="sum",
        help="sum over the classes, with which the paper's numbers come out, or mean, as printed "
        "(default: sum)",
    )
    add("--precision", default="float32", help=f"one of: {', '.join(PRECISIONS)}")
    add("--train-images", type=cli.positive, help="upper limit on training images")
    add(
        "--evaluation-images",
        type=cli.positive,
        help="upper limit on images for validation, and for test",
    )
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    output.add_out_option(made, "glo")
    output.add_figure_options(made)
    add("--data-dir", type=cli.folder, help="TFDS' folder (default: TFDS_DATA_DIR)")
    cli.add_executor_options(made)
    return made


def add_losses(made: cli.Parser, default=LOSSES) -> None:
    """The options that say which losses are trained."""
    made.add_argument("--losses", nargs="+", metavar="NAME", default=default, help="which losses")
    made.add_argument(
        "--formula",
        action="append",
        default=[],
        metavar="NAME=FORMULA",
        help="another loss, e.g. mine='y_true/y_pred - log(y_pred)'",
    )


def add_steps(made: cli.Parser) -> None:
    """The options that say how long a network is trained, and how often it is looked at."""
    made.add_argument("--steps", type=cli.positive, help="of a training")
    made.add_argument(
        "--evaluate-every",
        type=cli.positive,
        metavar="STEPS",
        help="between two looks at the test set",
    )


def chosen_scale(args: argparse.Namespace) -> GLOScale:
    """The scale that the options name, with what they change of it."""
    if args.scale in SCALES and args.train_images is not None:
        args.train_images = min(args.train_images, SCALES[args.scale].train_images)
    return cli.chosen_scale(args, SCALES, _CHANGED)


def plan_arguments(args: argparse.Namespace, executor: Executor) -> dict:
    """What the options say to `protocol.plan` beside the scale."""
    return {
        "class_reduction": args.class_reduction,
        "precision": args.precision,
        "seed": args.seed,
        "replicas": cli.count_replicas(args, executor, protocol.BATCH_SIZE),
    }


def loss_arguments(args: argparse.Namespace) -> dict:
    """What `add_losses`' options say to `protocol.plan`."""
    names, formulas = cli.named_formulas(args.losses, args.formula)
    return {"loss_names": [name for name in names if name not in formulas], "formulas": formulas}


def run(
    args: argparse.Namespace, trials: list[Trial], executor: Executor
) -> dict[str, TrialResult]:
    """The rows of the trials; what the journal does not have is trained.

    Raises:
        UserError: If not a single network was trained to its end.
    """
    output.saver(args)  # refuses what cannot be drawn, before a training
    results = cli.run_missing(trials, folder(args), args, executor)
    if all(results[trial.key].status != "ok" for trial in trials):
        message = results[trials[0].key].message
        raise UserError(f"no network was trained to its end; the first: {message}")
    return results


def figure_networks(
    doc: str,
) -> tuple[argparse.Namespace, GLOScale, list[Trial], dict[str, TrialResult]]:
    """What figures 1 and 3 are made of: options, scale, trials and their rows."""
    made = parser(doc)
    add_losses(made)
    made.add_argument("--runs", type=cli.positive, help="networks for each loss")
    add_steps(made)
    args = made.parse_args()
    scale = chosen_scale(args)
    with cli.make_executor(args) as executor:
        settings = plan_arguments(args, executor)
        trials = protocol.plan(scale, **loss_arguments(args), **settings)
        return args, scale, trials, run(args, trials, executor)


def folder(args: argparse.Namespace) -> Path:
    """Where results go."""
    return output.folder(args, "glo", args.scale)


def numbers(convert: Callable, what: str) -> Callable:
    """The type of an option that takes a list of numbers, such as 0.1,0.5,1."""

    def parse(text):
        try:
            return tuple(dict.fromkeys(convert(part) for part in text.split(",")))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(
                f"{text} is not a list of {what} with commas between them"
            ) from None

    return parse


def report(
    args: argparse.Namespace,
    scale: GLOScale,
    name: str,
    title: str,
    body: list[list[str]],
    frame: "pd.DataFrame",
    figure: "Callable[[], Figure]",
    notes: Sequence[str] = (),
    silent: str = protocol.PAPER_SILENT,
) -> None:
    """Print a table; write it as Markdown and LaTeX, its networks as CSV, and its figure.

    Args:
        args: The script's options.
        scale: What was trained.
        name: Of the files; what else than the default the losses and layers are is added to it.
        title: Heading of table and figure.
        body: The table, as rows of text.
        frame: Its networks, as `tables.to_frame` makes it.
        figure: Function that draws the figure.
        notes: What the reader must know of this table.
        silent: What the paper does not say of it.
    """
    over = "sum" if args.class_reduction == "sum" else "mean, as paper B prints it,"
    notes = [
        *notes,
        f"Scale {scale.name}: {scale.note}. Layers in {args.precision}.",
        f"Losses are the {over} over the classes.",
        silent,
        *cli.reconstruction_note(frame.loss),
    ]
    rate = frame.steps_per_second.median()
    if not np.isnan(rate):
        notes.append(f"Median of the networks: {rate:.0f} steps a second.")
    print("", title, "", tables.as_text(body), "", *notes, sep="\n")
    settings = (args.class_reduction, "sum"), (args.precision, "float32")
    suffix = "".join(f"_{value}" for value, default in settings if value != default)
    path = folder(args) / (name + suffix)
    with output.writing_to(path.parent):
        output.write_table(path, title, [body], notes, frame, figure, output.saver(args))
