"""The options of the scripts: one parser, made of the fields of a scale and their documentation.

A `Scale` says how much of the papers' protocol a script carries out. Its class documents every
field once; `add_fields` makes options of the fields that a script lets its users change.
"""

import argparse
import contextlib
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nglkeras import executors, paths
from nglkeras.errors import UserError, unknown
from nglkeras.executors import Executor
from nglkeras.report import output
from nglkeras.training import devices
from nglkeras.training.schedule import PRECISIONS

# Some libraries never give all memory back; a new worker compiles its networks anew.
TRIALS_PER_WORKER = 100


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The part of the papers' protocol that a script carries out.

    Attributes:
        name: What `--scale` calls it.
        note: What a reader must know of numbers at this scale.
        runs: Networks that are trained for each cell.
        epochs: Upper limit on epochs; `None` for the protocol's own.
        train_images: Upper limit on training images, drawn at random; `None` for all.
        evaluation_images: Upper limit on images for validation, and for test; `None` for all.
    """

    name: str
    note: str
    runs: int = 1
    epochs: int | None = None
    train_images: int | None = None
    evaluation_images: int | None = None


AnyScale = TypeVar("AnyScale", bound=Scale)


def by_name(*scales: AnyScale) -> dict[str, AnyScale]:
    """Return scales by their names."""
    return {scale.name: scale for scale in scales}


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` with the script's docstring, and errors of one line."""

    def __init__(self, doc: str):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        """Print one line instead of the usage, and exit with code 2."""
        self.exit(2, f"error: {message}\n")


def documented(cls: type) -> dict[str, str]:
    """Return what the "Attributes" sections of a class and its bases say of each attribute."""
    found = {}
    for base in reversed(cls.__mro__):
        _, _, section = (base.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^ +(\w+): (.*(?:\n {9,}\S.*)*)", section, re.MULTILINE):
            found[name] = re.sub(r"\s+", " ", text)
    return found


def add_fields(
    parser: Parser, scale: type[Scale], flags: Mapping[str, str] | Sequence[str]
) -> None:
    """Add an option for each of some fields of a scale; what is not given leaves it as it is.

    `flags` are names of fields, or names of fields with their options: `{"steps": "--steps"}`.
    """
    if not isinstance(flags, Mapping):
        flags = {name: f"--{name.replace('_', '-')}" for name in flags}
    hints, docs = get_type_hints(scale), documented(scale)
    for name, flag in flags.items():
        text = docs[name].partition("; `None`")[0].replace("`", "").replace("%", "%%")
        text = text[0].lower() + text[1:].removesuffix(".")
        parser.add_argument(flag, dest=name, help=text, default=None, **_argument(hints[name]))


def _argument(hint):
    """Return how argparse reads a field of this type."""
    if get_origin(hint) in (types.UnionType, Union):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint), "metavar": "NAME"}
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if inner is str:
            return {"nargs": "+", "metavar": "NAME"}
        if get_origin(inner) is tuple:
            return {"type": positive_for, "nargs": "+", "metavar": "[NAME=]N"}
        kinds = {int: (positive, "whole numbers"), float: (float, "numbers")}
        return {"type": numbers(*kinds[inner]), "metavar": "N,N,..."}
    return {"type": positive, "metavar": "N"} if hint is int else {"metavar": "NAME"}


def add_scale(parser: Parser, scales: Mapping[str, Scale]) -> None:
    """Add the option that names a scale."""
    text = f"one of: {', '.join(scales)} (default: demo)"
    parser.add_argument("--scale", default="demo", metavar="NAME", help=text)


def add_common(parser: Parser, name: str) -> None:
    """Add the options of every script with trainings; `name` is its folder below `results/`."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    output.add_out_option(parser, name)
    add("--data-dir", type=folder, help="folder of the data (default: TFDS' own, TFDS_DATA_DIR)")
    output.add_figure_options(parser)
    add_executor_options(parser)


def add_losses(parser: Parser, *, formulas: bool = True) -> None:
    """Add the options that say which losses are trained, by name and by formula."""
    parser.add_argument(
        "--losses", nargs="+", metavar="NAME", help="which losses (default: the table's own)"
    )
    if formulas:
        text = "another loss, or one of f1 to f3 as you read it, e.g. f3='sqrt(y_true/y_pred)'"
        parser.add_argument(
            "--formula", action="append", default=[], metavar="NAME=FORMULA", help=text
        )


def add_precision(parser: Parser) -> None:
    """Add the option for the dtype policy of the layers."""
    text = f"dtype policy of the layers, one of: {', '.join(PRECISIONS)} (default: float32)"
    parser.add_argument("--precision", default="float32", metavar="NAME", help=text)


def chosen_scale(args: argparse.Namespace, scales: Mapping[str, AnyScale]) -> AnyScale:
    """Return the scale that the options name, with the fields that options change."""
    if args.scale not in scales:
        raise unknown("scale", args.scale, scales)
    scale = scales[args.scale]
    names = {field.name for field in fields(scale)}
    changes = {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in vars(args).items()
        if name in names and value is not None
    }
    changes = {name: value for name, value in changes.items() if value != getattr(scale, name)}
    if not changes:
        return scale
    note = f"with other {', '.join(changes).replace('_', ' ')} than that scale's own"
    if not changes.keys() & {"dataset", "datasets", "models", "model"}:
        note = f"{scale.note}; {note}"
    return replace(scale, note=note, **changes)


def add_executor_options(parser: Parser) -> None:
    """Add the options that say where networks are trained, and on how many devices each."""
    add = parser.add_argument_group("where networks are trained").add_argument
    add("--executor", default="local", help=f"one of: {', '.join(executors.NAMES)}")
    add("--workers", type=positive, help="networks at a time (default: as many as there are GPUs)")
    text = "GPUs of each, or a share such as 0.5 of one (default: 1 where there are any)"
    add("--gpus-per-worker", type=share, metavar="F", help=text)
    add("--ray-address", metavar="ADDRESS", help="of the cluster, e.g. auto or ray://host:10001")
    text = f"a worker is replaced after N trials (default: {TRIALS_PER_WORKER})"
    add("--trials-per-worker", type=positive, default=TRIALS_PER_WORKER, metavar="N", help=text)
    add("--timeout", type=positive, metavar="SECONDS", help="time limit of a network's training")
    text = "devices that share a batch: auto, none or mirrored (default: auto)"
    add("--strategy", default="auto", help=text)


def make_executor(args: argparse.Namespace) -> Executor:
    """Return the executor that the options of `add_executor_options` name."""
    return executors.make(
        args.executor,
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        address=args.ray_address,
        timeout=args.timeout,
        tasks_per_worker=args.trials_per_worker,
    )


def count_replicas(args: argparse.Namespace, executor: Executor, batch_size: int) -> int:
    """Return the number of devices that share a batch of a network, wherever it is trained."""
    gpus = executor.gpus_per_worker
    there = None if gpus is None else max(int(gpus), 1)
    return devices.count_replicas(args.strategy, batch_size, there)


def folder(text: str) -> Path:
    """Read an option that names a folder; workers elsewhere find it too."""
    try:
        return paths.absolute(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def share(text: str) -> float:
    """Read an option that is a number of GPUs."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text} is not a number of GPUs")


def positive(text: str) -> int:
    """Read an option that is a positive whole number."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def count(text: str) -> int:
    """Read an option that is a whole number from 0 on."""
    return 0 if text == "0" else positive(text)


def positive_for(text: str) -> tuple[str | None, int]:
    """Read an option that is a number for all data sets, N, or for one, NAME=N."""
    name, equals, number = text.rpartition("=")
    if equals and not name:
        raise argparse.ArgumentTypeError(f"{text} is neither N nor NAME=N")
    return name or None, positive(number)


def numbers(convert: Callable, what: str) -> Callable:
    """Return a reader of options that are numbers with commas between them."""

    def parse(text):
        try:
            return tuple(dict.fromkeys(convert(part) for part in text.split(",")))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(
                f"{text} is not a list of {what} with commas between them"
            ) from None

    return parse
