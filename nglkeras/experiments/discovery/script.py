"""What the scripts of both papers' searches share: the options that say what is not trained."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nglkeras import search
from nglkeras.errors import unknown
from nglkeras.experiments import cli, discovery
from nglkeras.experiments.discovery import draws
from nglkeras.search.screening import CHECKS, Screening, screening


def add_options(parser: cli.Parser, checks: Sequence[str] = CHECKS) -> None:
    """Add the options for the screening and the draws.

    Args:
        parser: Of the script.
        checks: Those that can be chosen.
    """
    add = parser.add_argument
    what = f"any of: {', '.join(checks)}"
    add("--screen", nargs="+", default=(), metavar="CHECK", help=f"checks to make too, {what}")
    add("--without", nargs="+", default=(), metavar="CHECK", help=f"checks to leave out, {what}")
    add(
        "--draws",
        help=f"{' or '.join(draws.DRAWS)}: whether candidates share splits and initial weights "
        "(default: the scale's, fresh at paper scale)",
    )


def chosen_checks(
    args: argparse.Namespace, scale_checks: Sequence[str], checks: Sequence[str] = CHECKS
) -> list[str]:
    """List the checks of a scale with what the options change.

    Args:
        args: Options of `add_options`.
        scale_checks: Those of the scale.
        checks: Those that can be chosen.

    Raises:
        UserError: If an option names another.
    """
    for check in (*args.screen, *args.without):
        if check not in checks:
            raise unknown("check", check, checks)
    kept = {*scale_checks, *args.screen} - set(args.without)
    return [check for check in CHECKS if check in kept]


def screening_of(
    args: argparse.Namespace,
    checks: Sequence[str],
    gradients: str,
    folder: Path,
    bounds: tuple[float, float] | None,
) -> Screening:
    """Make the screening of a search.

    A folder whose search was begun with all checks, as earlier versions did at every scale, goes on
    with them unless an option says otherwise.

    Args:
        args: Options of `add_options`.
        checks: As `chosen_checks` gives them.
        gradients: Of the fitness: which gradients are alike.
        folder: Of the search.
        bounds: As in `Screening`.
    """
    full = screening(CHECKS, gradients=gradients, bounds=bounds)
    begun = search.records.settings_in(folder).get("screening")
    if not (args.screen or args.without) and begun == search.records.as_json(asdict(full)):
        return full
    return screening(checks, gradients=gradients, bounds=bounds)


def describe(checks: Screening, fitness: "discovery.TrialFitness") -> str:
    """Say in two sentences what was screened and drawn, for the reader of results."""
    made = {name: getattr(checks, name) for name in CHECKS}
    found = [name for name, value in made.items() if value not in (False, "off")]
    what = f"Not trained: {', '.join(found)}." if found else "Every candidate is trained."
    own = "Every evaluation has a split and initial weights of its own."
    shared = "Candidates share splits and initial weights."
    return f"{what} {own if draws.is_fresh(fitness.blanks[0]) else shared}"
