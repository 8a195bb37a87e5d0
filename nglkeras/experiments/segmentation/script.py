"""The common part of the scripts of tables 4 and 5: options, trials, tables and figures."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

# What needs Keras, Matplotlib or pandas is reached through it after parsing: see `lazy`.
import nglkeras
from nglkeras import training
from nglkeras.errors import UserError
from nglkeras.experiments import cli, segmentation
from nglkeras.experiments.segmentation import architectures, catalog, protocol, recipes
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.experiments.segmentation.recipes import SegmentationScale
from nglkeras.report import output, tables
from nglkeras.runs.journal import Journal
from nglkeras.runs.runner import pending, run_trials
from nglkeras.runs.trial import TrialResult
from nglkeras.training.schedule import PRECISIONS

# Folder of what is kept for the qualitative figures.
PREDICTIONS = "predictions"
# Fields of a scale that options change.
_CHANGED = (
    *("runs", "epochs", "train_images", "evaluation_images", "image_size"),
    *("dataset", "models", "weights", "precision"),
)


def run(
    doc: str,
    name: str,
    title: str,
    scales: dict[str, SegmentationScale],
) -> None:
    """Run a script.

    Args:
        doc: The script's docstring, which explains it in `--help`.
        name: "table4" or "table5": names the printed numbers and the files.
        title: Heading of table and plot.
        scales: The script's scales by name.
    """
    args = _parser(doc, scales, name).parse_args()
    scale = cli.chosen_scale(args, scales, _CHANGED)
    if args.dataset is not None:
        # The option is for all models.
        scale = replace(scale, datasets=())
    out = output.folder(args, name, scale.name)
    # Missing files and libraries are reported before a training, not after it.
    printed, save = segmentation.tables.read_printed(name), output.saver(args)
    with cli.make_executor(args) as executor:
        plan = partial(
            protocol.plan,
            scale,
            args.losses or nglkeras.losses.rows_of(name),
            seed=args.seed,
            data_dir=args.data_dir,
        )
        # Every network's batches have to divide by the number of devices.
        batch_size = math.gcd(*(trial.schedule.part_size for trial in plan()))
        trials = plan(replicas=cli.count_replicas(args, executor, batch_size))
        for line in protocol.missing_starts(scale, trials):
            print(line, flush=True)
        results = _run_missing(trials, out, args, executor)
    if all(results[trial.key].status != "ok" for trial in trials):
        message = results[trials[0].key].message
        raise UserError(f"no network was trained to its end; the first: {message}")
    # The paper's numbers stand beside those of its own data set, and of stand-ins for it.
    measures, layout = segmentation.tables.LAYOUTS[name]
    table = segmentation.tables.cells(trials, results, measures, printed)
    with output.writing_to(out):
        heading = f"{title}, {scale.name} scale, {_titles(trials)}"
        _report(table, trials, results, scale, heading, layout, out / name, save)
        _draw_examples(trials, results, args.data_dir, out, name, save)


def _parser(doc, scales, name):
    made = cli.Parser(doc)
    add = made.add_argument
    add("--scale", default="demo", help=f"one of: {', '.join(scales)} (default: demo)")
    add("--dataset", metavar="NAME", help=f"one of: {', '.join(catalog.NAMES)}")
    add("--data-dir", type=cli.folder, help="where the data set is")
    add("--models", nargs="+", metavar="NAME", help=f"of: {', '.join(architectures.ARCHITECTURES)}")
    add("--losses", nargs="+", metavar="NAME", help="which losses (default: the paper's)")
    add("--runs", type=cli.positive, help="networks for each model and loss")
    add("--epochs", type=cli.positive, help="upper limit on epochs")
    add("--image-size", type=cli.positive, help="side of the training images, in pixels")
    add("--train-images", type=cli.positive, help="upper limit on training images")
    add(
        "--evaluation-images",
        type=cli.positive,
        help="upper limit on images for validation, and for test",
    )
    add(
        "--weights",
        nargs="+",
        metavar="[MODEL=]FILE",
        help="what encoders and trunks start from, for all models or for one: none, imagenet, a "
        ".weights.h5 file that Keras wrote of the encoder or trunk, or an .npz file with the state "
        "dict of torchvision's resnet34 (for unet) or of kazuto1011/deeplab-pytorch (for "
        "deeplabv2_multiscale; the paper's start is its deeplabv1_resnet101-coco.pth): "
        "numpy.savez(FILE, **{k: v.numpy() for k, v in torch.load(PTH).items()})",
    )
    add("--precision", metavar="NAME", help=f"one of: {', '.join(PRECISIONS)}")
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    output.add_out_option(made, name)
    output.add_figure_options(made)
    cli.add_executor_options(made)
    return made


def _run_missing(trials, out, args, executor):
    """Return the rows of the trials; those that the journal lacks are trained."""
    checkpoints = training.checkpoint.Checkpoints(out / "checkpoints")
    journal = Journal(out / "journal.jsonl", partial(print, file=sys.stderr), checkpoints)
    results = journal.results()
    missing = pending(trials, results)
    if not missing:
        return results
    # What is missing or damaged is reported here and not by a worker.
    for dataset in dict.fromkeys(trial.dataset for trial in missing):
        cli.tell(*segmentation.survey.survey(dataset, args.data_dir))
    print(f"{len(missing)} of {len(trials)} trials to run; rows go to {journal.path}", flush=True)
    places = {
        "data_dir": args.data_dir,
        "checkpoints": checkpoints,
        "predictions": out / PREDICTIONS,
    }
    run = partial(segmentation.training.run_trial, timeout=args.timeout, **places)
    return run_trials(trials, journal, run, executor=executor)


def _titles(trials):
    """The titles of the data sets that the trials are trained on."""
    titles = [catalog.INFO[trial.dataset].title for trial in trials]
    return ", ".join(dict.fromkeys(titles))


def _notes(scale, table, trials):
    kinds = {trial.model: trial for trial in trials}
    notes = [
        f"Scale {scale.name}: {scale.note}.",
        f"Data: {_titles(trials)}"
        + (f", at most {scale.train_images} training images" if scale.train_images else "")
        + (
            f", at most {scale.evaluation_images} images each for validation and test"
            if scale.evaluation_images
            else ""
        )
        + ".",
        *map(protocol.describe, kinds.values()),
        *protocol.missing_starts(scale, trials),
        "Measures on the test set after the last epoch, in %, means with half of their 95 % "
        "interval (Student's t) from three runs on, the paper's value in parentheses; the best is "
        "marked. Classes that occur neither in truth nor in prediction are left out of the mean "
        "IoU, void pixels out of everything. The losses of a run share its images and initial "
        "weights, which Welch's test does not use: its p is cautious.",
        recipes.PAPER_SILENT,
    ]
    divided = sum(cell.divided for cell in table)
    if divided:
        notes.append(
            "Some networks had their batches divided for lack of memory: their "
            "BatchNormalization saw smaller batches."
        )
    return notes


def _report(table, trials, results, scale, title, layout, path, save):
    """Print a table, write it as CSV, Markdown and LaTeX, and draw it."""
    notes = _notes(scale, table, trials)
    detailed = segmentation.tables.details(table)
    classes = segmentation.tables.classes_layout(trials, results)
    texts = [tables.as_text(layout(table)), tables.as_text(detailed)]
    print("", title, "", "\n\n".join(texts), "", *notes, sep="\n")
    parts = [layout(table, bold=("**", "**")), detailed, classes]
    figure = partial(segmentation.plots.scores, table, title)
    output.write_table(path, title, parts, notes, segmentation.tables.to_frame(table), figure, save)


def _draw_examples(
    trials: Sequence[SegmentationTrial],
    results: dict[str, TrialResult],
    data_dir: Path | None,
    out: Path,
    name: str,
    save: Callable[..., list[Path]],
) -> None:
    """Write the qualitative figure of each model, of the networks of the first run."""
    for model in dict.fromkeys(trial.model for trial in trials):
        first = [trial for trial in trials if (trial.model, trial.run) == (model, 0)]
        maps = {trial.loss: _predictions(out, trial) for trial in first}
        maps = {loss: found for loss, found in maps.items() if found}
        if not maps:
            print(f"no qualitative figure of {model}: no predictions in {out / PREDICTIONS}")
            continue
        try:
            part = segmentation.training.find_sets(first[0], data_dir).test
            rows = segmentation.training.kept_rows(part)
            pairs = [part[0].read(row, first[0].views.resize) for row in rows]
        except UserError as error:
            print(f"no qualitative figure of {model}: {error}")
            continue
        info = catalog.get_info(first[0].dataset, data_dir)
        images, truths = zip(*pairs, strict=True)
        figure = partial(
            segmentation.plots.qualitative,
            images,
            truths,
            {loss: [found[str(row)] for row in rows] for loss, found in maps.items()},
            info.classes,
            segmentation.plots.palette(first[0].dataset, len(info.classes)),
            f"{architectures.get_architecture(model).title} on test images of {info.title}",
        )
        for path in save(figure, out, f"{name}_{model}"):
            print(f"written: {path}")


def _predictions(out, trial):
    """The kept label maps of a trial's network by number of the image; empty without a file."""
    path = segmentation.training.predictions_path(out / PREDICTIONS, trial.key)
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {row: file[row] for row in file.files}
    # A damaged file leaves its network out of the figure.
    except Exception:
        return {}
