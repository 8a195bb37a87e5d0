"""What the scripts write: in which folder, and tables and figures in which formats."""

import argparse
import contextlib
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

# What needs Keras or pandas is reached through it after parsing: see `lazy`.
from nglkeras import paths, report
from nglkeras.errors import UserError
from nglkeras.report import figures, latex
from nglkeras.startup import extras

# In the working directory, wherever the package is installed.
RESULTS = Path("results")
# Folders in it that hold no committed results; .gitignore lists the same.
SCRATCH = (
    *("*/demo", "*/small", "*/reduced", "*/paper", "figures", "benchmark/new", "gpu/new"),
    "calibration/*/searches",
)


def add_out_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add `--out`, the folder of results, by default `results/NAME/SCALE`."""
    default = RESULTS / name / "SCALE"
    parser.add_argument("--out", metavar="DIR", help=f"folder of results (default: {default})")


def folder(args: argparse.Namespace, name: str, scale: str) -> Path:
    """Return the folder of results that the options name, as an absolute path."""
    return paths.absolute(args.out or RESULTS / name / scale)


def add_figure_options(parser: argparse.ArgumentParser, formats: Sequence[str] = ("png",)) -> None:
    """Add the options that say how figures are saved."""
    add = parser.add_argument_group("figures").add_argument
    add(
        "--format",
        nargs="+",
        metavar="FORMAT",
        dest="formats",
        default=formats,
        help=f"any of {', '.join(figures.FORMATS)} (default: {' '.join(formats)})",
    )
    add("--width", type=float, metavar="INCHES", help="width of a figure; it keeps its proportions")
    add("--font-size", type=float, metavar="POINTS", help="size of normal text (default: 10)")


def saver(args: argparse.Namespace) -> Callable[..., list[Path]]:
    """Return `figures.save` with the formats and sizes that the options name.

    Raises:
        UserError: If one of them cannot be, or what draws is not installed. Call this before a
            training, not after it.
    """
    extras.require("matplotlib", "pandas", "scipy")
    formats = [kind.lower() for text in args.formats for kind in text.split(",") if kind]
    figures.check(formats, args.width, args.font_size)
    return partial(figures.save, formats=formats, width=args.width, font_size=args.font_size)


def kept(folder: Path, *endings: str) -> list[Path]:
    """Return the files in a folder of results whose names have these endings, but for `SCRATCH`."""
    scratch = {path for pattern in SCRATCH for path in folder.glob(pattern)}
    # A folder that is a link counts; `**` alone would leave it out.
    patterns = [f"{place}*{ending}" for place in ("", "*/**/") for ending in endings]
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if scratch.isdisjoint(path.parents))


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a failure to write into a `UserError`."""
    try:
        yield
    except BrokenPipeError:
        # It is not the folder that cannot be written to, but the reader of what is printed.
        raise
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error}") from error


def write_table(
    path: Path,
    title: str,
    parts: Sequence[Sequence[Sequence[str]]],
    notes: Sequence[str],
    frame,
    figure: Callable,
    save: Callable[..., list[Path]],
) -> Path:
    """Write a table as CSV, Markdown and LaTeX, save its figure, and print the files' names.

    `path` has no ending; the first of the parts, which are rows of text, is the one of LaTeX.
    Returns the path under which the files were written.

    Files that hold more than this table stay; it is written under a name that says what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = beside_more(path, frame)
    markdown = [f"# {title}", *map(report.tables.as_markdown, parts), *notes]
    markdown = "\n\n".join(markdown) + "\n"
    path.with_name(f"{path.name}.md").write_text(markdown, encoding="utf-8")
    in_latex = latex.table(parts[0], title, notes)
    path.with_name(f"{path.name}.tex").write_text(in_latex, encoding="utf-8")
    frame.to_csv(path.with_name(f"{path.name}.csv"), index=False)
    saved = save(figure, path.parent, path.name)
    endings = [".csv", ".md", ".tex", *(file.suffix for file in saved)]
    print(f"\nwritten: {path}{', '.join(endings[:-1])} and {endings[-1]}")
    return path


# Columns that say what a line of a CSV file is about.
_IDENTITY = (
    *("dataset", "model", "loss", "measure", "class_reduction", "precision", "train_images"),
    *("weights", "steps", "learning_rate", "run", "scale_free", "task", "search", "epoch"),
    *("seed", "batch_size", "epochs", "image_size"),
)


def beside_more(path: Path, frame) -> Path:
    """Return the path, or one beside it if its CSV file has rows or runs that the frame lacks.

    `path` has no ending; `frame` is what shall be written there.
    """
    try:
        there = report.tables.read_csv(path.with_name(f"{path.name}.csv"))
    except (OSError, ValueError):
        return path
    columns = [name for name in _IDENTITY if name in frame and name in there]
    if not columns:
        return path
    ours, theirs = (_runs_by_key(table, columns) for table in (frame, there))
    if all(ours.get(key, -1) >= runs for key, runs in theirs.items()):
        return path
    held = [
        "-".join(map(str, dict.fromkeys(frame[name])))
        for name in columns
        if set(map(str, frame[name])) != set(map(str, there[name])) and name != "run"
    ]
    runs = max(ours.values()) or frame.get("run", frame.index).nunique()
    whole = "_".join([*held, f"{runs}runs"])
    held = re.sub(r"[^\w.+-]+", "", whole)
    if len(held) > 100 or re.search(r"[^\w.+() -]", whole):
        # Tables whose names begin alike, or differ in signs that no file's name has, are still two.
        held = f"{held[:91]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    print(f"\n{path.name}.csv has more than this table and stays; this one is {path.name}_{held}")
    return path.with_name(f"{path.name}_{held}")


def _runs_by_key(table, columns):
    """Return the number of runs by what a line is about; 0 where a line is a network of its own."""
    runs = table["runs"] if "runs" in table else [0] * len(table)
    keys = zip(*(map(str, table[name]) for name in columns), strict=True)
    return dict(zip(keys, runs, strict=True))


def say(*lines: str) -> None:
    """Print lines; what the terminal cannot show becomes a question mark."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print("\n".join(lines).encode(encoding, "replace").decode(encoding), flush=True)
