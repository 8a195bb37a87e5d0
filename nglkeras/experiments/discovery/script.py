"""The one shape of both papers' searches as scripts: options, fitness, search, report."""

import argparse
import sys
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras.errors import unknown
from nglkeras.experiments import discovery, draws, options, script
from nglkeras.experiments.options import Scale
from nglkeras.numbers import positive
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.search.screening import CHECKS, Screening, with_checks
from nglkeras.startup import extras

if TYPE_CHECKING:
    from nglkeras.experiments.discovery.fitness import TrialFitness
    from nglkeras.search import Result


class SearchScript(script.Script):
    """The search of a paper; a subclass says what is special about it.

    Attributes:
        checks: Checks of the screening that options can switch on or off.
        packages: Packages that the search needs.
        silent: What the paper does not say; printed before the search. Empty for nothing.
    """

    checks: ClassVar[Sequence[str]] = CHECKS
    packages: ClassVar[Sequence[str]] = ()
    silent: ClassVar[str] = ""

    def add_options(self, parser):
        """Add the options that both searches have."""
        add = parser.add_argument
        what = f"any of: {', '.join(self.checks)}"
        text = "bring each loss to cross entropy's size first, so that none wins by its scale"
        add("--scale-free", action="store_true", help=text)
        add("--screen", nargs="+", default=(), metavar="CHECK", help=f"checks to add, {what}")
        add("--without", nargs="+", default=(), metavar="CHECK", help=f"checks to omit, {what}")
        add(
            "--confirm-runs",
            type=options.count,
            metavar="N",
            help="tested networks for each loss of the confirmation at the end, each loss at its "
            "own best learning rate; 0 for none (default: 5 at demo scale, else 10)",
        )
        add(
            "--confirm-minutes",
            type=float,
            metavar="M",
            help="time budget of the confirmation, which cuts networks and losses (default: none)",
        )
        add(
            "--compare-runs",
            type=options.count,
            default=0,
            metavar="N",
            help="networks for each loss of a comparison at the search's own learning rate, as "
            "earlier versions made it (default: none)",
        )

    def confirmation(self, args: argparse.Namespace, scale: Scale) -> dict | None:
        """Return how the winner is confirmed, as arguments of `search.confirm`; `None` for not."""
        if args.confirm_runs == 0:
            return None
        is_demo = scale.name == "demo"
        return {
            "best": 1 if is_demo else 3,
            "rate_runs": 1 if is_demo else 2,
            "new_runs": args.confirm_runs or (5 if is_demo else 10),
            "minutes": args.confirm_minutes,
        }

    def place(self, args: argparse.Namespace, scale: Scale) -> Path:
        """Return the folder of the results."""
        return output.folder(args, self.folder, scale.name)

    @abstractmethod
    def fitness(self, args: argparse.Namespace, scale: Scale, journal: Journal, **settings):
        """Return the fitness of the candidates; `settings` are arguments of `TrialFitness`."""

    @abstractmethod
    def heading(self, args: argparse.Namespace, scale: Scale, fitness: "TrialFitness") -> str:
        """Describe the search in sentences."""

    @abstractmethod
    def search(self, args: argparse.Namespace, scale: Scale, fitness, heading: str, out: Path):
        """Search, and report what was found."""

    def carry_out(self, args):
        """Check the options, search, and compare the winner."""
        scale = self.chosen_scale(args)
        for check in (*args.screen, *args.without):
            if check not in self.checks:
                raise unknown("check", check, self.checks)
        if args.confirm_minutes is not None:
            positive("--confirm-minutes", args.confirm_minutes)
        extras.require(*self.packages)
        # What cannot be drawn is refused before a training, not after it.
        output.saver(args)
        out = self.place(args, scale)
        with options.make_executor(args) as executor:
            args.replicas = partial(options.count_replicas, args, executor)
            fitness = self.fitness(
                args,
                scale,
                Journal(out / "trials.jsonl", report=partial(print, file=sys.stderr)),
                data_dir=args.data_dir,
                timeout=args.timeout,
                executor=executor,
                scale_free=args.scale_free,
                racing=scale.racing,
            )
            heading = self.heading(args, scale, fitness)
            print(*filter(None, [heading, self.silent, f"Journals in {out}"]), sep="\n", flush=True)
            # No other process may write these journals before the last comparison is done.
            with fitness.writing():
                self.search(args, scale, fitness, heading, out)


def report(
    args: argparse.Namespace,
    result: "Result",
    fitness: "TrialFitness",
    out: Path,
    heading: str,
    **settings,
) -> None:
    """Print, write and draw the result of a search; see `report.write`."""
    with output.writing_to(out):
        discovery.report.write(result, fitness, out, heading, save=output.saver(args), **settings)


def screening_of(
    args: argparse.Namespace,
    scale: Scale,
    fitness: "TrialFitness",
    bounds: tuple[float, float] | None,
) -> Screening:
    """Return the screening with the checks of the scale, as the options change them."""
    checks = {*scale.screening, *args.screen} - set(args.without)
    return with_checks(checks, gradients=fitness.gradients, bounds=bounds)


def describe(checks: Screening, fitness: "TrialFitness") -> str:
    """Say in sentences which trainings were spared, how splits were drawn, and of the scale."""
    race = ""
    if fitness.racing is not None:
        race = " A training that will hardly catch up with the worst survivor is stopped."
    scale = " Losses are brought to cross entropy's size." if fitness.scale_free else ""
    made = {name: getattr(checks, name) for name in CHECKS}
    found = [name for name, value in made.items() if value not in (False, "off")]
    what = f"Not trained: {', '.join(found)}." if found else "Every candidate is trained."
    own = "Every evaluation has a split and initial weights of its own."
    shared = "Candidates share splits and initial weights."
    return f"{what} {own if draws.is_fresh(fitness.blanks[0]) else shared}{scale}{race}"
