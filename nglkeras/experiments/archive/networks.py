"""Train networks of a journal again, and save them.

A journal has the accuracies of its networks, not their weights. The trial in a row has everything
that decides a training, so that the same network can be trained again. Its accuracy may still
differ, as rounding does from machine to machine: `networks.csv` has both accuracies.

A file holds the network alone, without loss and optimizer. It therefore has no object of this
package in it, and `keras.models.load_model` needs nothing else than Keras, on any backend.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

# What needs Keras or pandas is reached through packages: see `startup.lazy`.
from nglkeras import data, paths, report
from nglkeras.errors import UserError, in_a_line, unknown
from nglkeras.executors import Local
from nglkeras.experiments import classification, options, verification
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.classification.trial import Trial
from nglkeras.report import output
from nglkeras.runs import runner
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import TrialResult, initial_weights
from nglkeras.training import devices

if TYPE_CHECKING:
    import keras

# In the working directory.
FOLDER = Path("build/weights")
LIST = "networks.csv"
JOURNAL = "journal.jsonl"
# The measure of a new row that is the test accuracy in the row of the committed journal.
COMMITTED = "committed_accuracy"


class SavedNetworks(Journal):
    """The rows of the networks that are saved in a folder, with their list, `networks.csv`.

    Args:
        folder: The folder.

    Raises:
        UserError: If its journal has rows of other trainings, which new ones would replace.
    """

    def __init__(self, folder: Path):
        super().__init__(folder / JOURNAL, partial(print, file=sys.stderr))
        self.folder = folder
        # By keys: hashing all networks again after each training would take longer than that.
        self._lines: dict[str, dict[str, object]] = {}
        rows = [row for row in super().results().values() if row.status == "ok"]
        if any(COMMITTED not in row.metrics for row in rows):
            raise UserError(f"{self.path} has rows of other trainings; choose another folder")
        # As listed: a file that has been damaged since must not look right.
        lines = listed(folder) if (folder / LIST).is_file() else ()
        self._hashes = {line["key"]: line["sha256"] for line in lines}

    def results(self) -> dict[str, TrialResult]:
        """Return the last row of every trial, but for rows of networks whose file is gone."""
        rows = super().results()
        return {key: row for key, row in rows.items() if row.status != "ok" or self._has(row)}

    def append(self, result: TrialResult) -> None:
        """Add a row, and write the list anew.

        Raises:
            UserError: If one of them cannot be written.
        """
        super().append(result)
        for known in (self._lines, self._hashes):
            known.pop(result.key, None)
        with output.writing_to(self.folder):
            self.write_list()

    def write_list(self) -> None:
        """Write a line about each network."""
        rows = [row for row in self.results().values() if row.status == "ok"]
        for row in rows:
            if row.key not in self._lines:
                self._lines[row.key] = self._line(row)
        lines = sorted((self._lines[row.key] for row in rows), key=lambda line: line["file"])
        if not lines:
            return
        with paths.replacing(self.folder / LIST) as file:
            writer = csv.DictWriter(file, lines[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)

    def save(self, trial: Trial, model: "keras.Model") -> None:
        """Save a network of layers under the name of its trial.

        Raises:
            UserError: If the file cannot be written.
        """
        import keras

        path = self.folder / file_name(trial.key, vars(trial))
        # Under another name until it is whole: a file that is there can be trusted.
        part = self.folder / f"part-{path.name}"
        with output.writing_to(self.folder):
            # A model made anew of the same layers knows neither the loss nor the optimizer.
            keras.Model(model.inputs, model.outputs, name=model.name).save(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)

    def _has(self, row):
        return (self.folder / file_name(row.key, row.trial)).is_file()

    def _line(self, row):
        trial, where = row.trial, row.environment
        path = self.folder / file_name(row.key, trial)
        settings = (f"{name}={value}" for name, value in trial["loss_settings"])
        versions = (where["backend"], "keras", "numpy", "python", "nglkeras")
        return {
            "file": path.name,
            "key": row.key,
            "dataset": trial["dataset"],
            "model": architectures.label(trial["model"]),
            "loss": trial["loss"],
            "formula": trial["formula"],
            "loss_settings": " ".join(settings),
            "learning_rate": trial["schedule"]["learning_rate"],
            "run": trial["run"],
            "seed": trial["seed"],
            "precision": trial["precision"],
            "committed_test_accuracy": row.metrics[COMMITTED],
            "test_accuracy": row.accuracy,
            "sha256": self._hashes.get(row.key) or sha256(path),
            "bytes": path.stat().st_size,
            "versions": ", ".join(f"{name} {where[name]}" for name in versions),
        }


def file_name(key: str, trial: Mapping[str, object]) -> str:
    """Return the name of the file of a network, of a trial's key and fields."""
    names = trial["dataset"], architectures.label(trial["model"]), trial["loss"]
    text = "_".join([*names, f"run{trial['run']}", key])
    return f"{re.sub(r'[^A-Za-z0-9_+.-]+', '-', text)}.keras"


def listed(folder: Path) -> list[dict[str, str]]:
    """Return the lines of a folder's list of networks.

    Raises:
        UserError: If there is none that can be read.
    """
    path = folder / LIST
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error):
        lines = [{}]
    if any(not (line.get("file") and line.get("key") and line.get("sha256")) for line in lines):
        raise UserError(f"{path} is no list of networks")
    return lines


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_journal(
    journal: Path,
    losses: Iterable[str] | None = None,
    runs: int | None = None,
    settings: Mapping[str, object] | None = None,
) -> dict[Trial, TrialResult]:
    """Return the trials of a journal whose networks were tested, run by run, with their rows.

    Args:
        journal: The file.
        losses: Names of losses; all by default.
        runs: The number of networks that differ in nothing but their run, those with the lowest
            numbers; all by default.
        settings: Settings that trials have: see `verification.selection`.

    Raises:
        UserError: If the journal cannot be read, has rows that are not of classifiers of this
            version, or has no such networks.
    """
    rows = verification.selection.Journals()
    try:
        found = rows.select(journal, Trial, None, settings or {})
    except msgspec.ValidationError as error:
        raise UserError(f"{journal}: no trials of classifiers ({in_a_line(error)})") from error
    for key, row in found.results.items():
        if key != row.key:
            raise UserError(f"{journal}: row {row.key} is of no classifier of this version")
    rows = {
        trial: found.results[trial.key]
        for trial in sorted(found.trials, key=lambda trial: trial.run)
        if trial.test and found.results[trial.key].answers(trial)
    }
    rows = {trial: row for trial, row in rows.items() if row.status == "ok"}
    if not rows:
        raise UserError(f"{found.where}: no tested network")
    names = list(dict.fromkeys(trial.loss for trial in rows))
    for name in losses or ():
        if name not in names:
            raise unknown("loss of the journal", name, names)
    chosen, counts = {}, {}
    for trial, row in rows.items():
        cell = replace(trial, run=0, weights=None, weights_sha256="")
        counts[cell] = counts.get(cell, 0) + 1
        if (runs is None or counts[cell] <= runs) and trial.loss in (losses or names):
            chosen[trial] = row
    return chosen


def save_networks(doc: str) -> None:
    """Train the tested networks of a journal again, and save them."""
    args = _parser(doc).parse_args()
    journal = args.folder / JOURNAL
    names = [name for name, _ in args.where]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--where has two values for {name}")
    wanted = of_journal(journal, args.losses, args.runs, dict(args.where))
    for name in {trial.backend for trial in wanted} - {devices.backend()}:
        raise UserError(
            f"{journal} has networks that were trained on {name}, and another backend gives "
            f"others: set KERAS_BACKEND={name}, or choose with --where backend={devices.backend()}"
        )
    _check_files(wanted, journal, args.data_dir)
    networks = SavedNetworks(args.out)

    def train(trial, *, on_epoch):
        row = classification.shared_networks.run_trial(
            trial,
            on_epoch=on_epoch,
            on_model=partial(networks.save, trial),
            data_dir=args.data_dir,
        )
        return replace(row, metrics={COMMITTED: wanted[trial].accuracy})

    def prepare(missing):
        for dataset in dict.fromkeys(trial.dataset for trial in missing):
            data.sources.prepare(dataset, args.data_dir)

    rows = runner.run_missing(
        list(wanted), networks, lambda missing: train, executor=Local(), prepare=prepare
    )
    _show(wanted, rows)
    print(f"written: {args.out / LIST}")
    failed = [row for row in rows.values() if row.status != "ok"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(wanted)} networks were not trained to their end; the first is "
            f"{failed[0].key}: {failed[0].status} ({failed[0].message})"
        )


def _check_files(trials, journal, data_dir):
    """Refuse files that are not those from which the networks were trained."""
    datasets = {trial.dataset for trial in trials}
    images = {name: data.catalog.files_sha256(name, data_dir) for name in datasets}
    starts = {path: initial_weights(path) for path in {trial.weights for trial in trials}}
    for trial in trials:
        now = {"files_sha256": images[trial.dataset], **starts[trial.weights]}
        for field, what in (("files_sha256", "images"), ("weights_sha256", "initial weights")):
            then = getattr(trial, field)
            if then and then != now.get(field):
                raise UserError(
                    f"{journal}: {trial} was trained with other {what} than are in "
                    f"{trial.weights if field == 'weights_sha256' else data_dir}"
                )


def _show(wanted, rows):
    table = [["network", "committed, %", "anew, %", "status"]]
    for trial, committed in wanted.items():
        row = rows[trial.key]
        anew = report.tables.number(row.accuracy and 100 * row.accuracy, ".2f")
        table.append([str(trial), f"{100 * committed.accuracy:.2f}", anew, row.status])
    output.say("", report.tables.as_text(table), "")


def _parser(doc):
    parser = options.Parser(doc)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=options.folder, help=f"with the {JOURNAL}")
    add("--losses", nargs="+", metavar="NAME", help="which losses (default: all of the journal)")
    text = "the first N networks of each loss and setting (default: all)"
    add("--runs", type=options.positive, metavar="N", help=text)
    text = "only networks with these settings, e.g. dataset=mnist steps=2000"
    add("--where", type=_setting, nargs="+", default=[], metavar="NAME=VALUE", help=text)
    text = f"folder of the networks (default: {FOLDER})"
    add("--out", type=options.folder, default=FOLDER, metavar="DIR", help=text)
    add("--data-dir", type=options.folder, help="TFDS' folder (default: TFDS_DATA_DIR)")
    return parser


def _setting(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
