"""How often paper B's search finds Baikal again: many searches with and without `scale_free`."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import report, search
from nglkeras.errors import UserError
from nglkeras.experiments import discovery, glo, options, script
from nglkeras.experiments.options import Scale, by_name
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.runs.live_status import duration
from nglkeras.seeds import numbered
from nglkeras.startup import extras

# Known losses that every search is compared with.
KNOWN = ("CE", "Baikal")
VERDICTS = ("yes", "no", "not settled")
# What is measured of the best loss and of each known one.
MEASURED = [f"{what}_{name}" for what in ("fitness", "rate", "test") for name in ("best", *KNOWN)]
# What a line says of the best loss where no loss of a search could be trained.
NOTHING = {"best": "none", "id": "", "formula": None, "simplified": "no loss could be trained"}
NOTHING |= {"gradient": math.nan, "verdict": None, **dict.fromkeys(MEASURED, math.nan)}
# Names of the searches without and with `scale_free`.
VARIANTS = {False: "as in the paper", True: "scale-free"}


@dataclass(frozen=True, kw_only=True)
class RediscoveryScale(Scale):
    """Many searches of paper B with its network on scikit-learn's digits.

    Attributes:
        seeds: Searches of each kind, with and without `scale_free`; each has its own data split
            and initial weights.
        population: Trees in a generation.
        generations: Generations of trees.
        steps: Steps of a candidate's training, a multiple of 4.
        rate_runs: Networks for each loss and learning rate of the comparison at the end.
        new_runs: Tested networks for each loss.
    """

    seeds: int
    population: int = 80
    generations: int
    steps: int
    rate_runs: int = 2
    new_runs: int

    @property
    def of_search(self) -> "glo.protocol.GLOScale":
        """The scale of a single search."""
        own = {"search_steps": self.steps, "validation_images": VALIDATION}
        return replace(glo.protocol.SCALES["demo"], **own)


# More than a tenth of the digits: a search compares hundreds of losses by them.
VALIDATION = 400
SCALES = by_name(
    RediscoveryScale(
        name="demo",
        note="two small searches of each kind show how it is done",
        seeds=2,
        population=40,
        generations=3,
        steps=40,
        rate_runs=1,
        new_runs=2,
    ),
    RediscoveryScale(
        name="full",
        note="ten searches of each kind on digits, 80 trees, 12 generations, 100 steps a candidate",
        seeds=10,
        generations=12,
        steps=100,
        new_runs=5,
    ),
)


@dataclass(frozen=True)
class Case:
    """One search: its kind and its number, from which its seed follows."""

    scale_free: bool
    number: int

    def __str__(self):
        return f"search {self.number}, {VARIANTS[self.scale_free]}"


class Searches:
    """Carries out cases; what an interrupted one has trained is in its folder.

    Args:
        scale: The scale.
        out: Folder of the searches.
        seed: Root of all randomness.
        timeout: Seconds after which the training of a network stops.
    """

    def __init__(
        self, scale: RediscoveryScale, out: Path, seed: int = 0, timeout: float | None = None
    ):
        self.scale, self.out, self.seed, self.timeout = scale, out, seed, timeout

    def __call__(self, case: Case) -> tuple[dict, float]:
        """Search, compare the best loss with known ones, and return a line of the CSV file.

        Returns:
            The line, and the wall time if anything was trained, else 0.
        """
        import keras

        started = time.perf_counter()
        keras.utils.clear_session()
        scale, seed = self.scale, numbered(self.seed, case.number)
        out = self.out / VARIANTS[case.scale_free].replace(" ", "_") / str(case.number)
        fitness = discovery.fitness.TrialFitness(
            partial(glo.protocol.candidate, scale.of_search, seed=seed),
            Journal(out / "trials.jsonl", print),
            timeout=self.timeout,
            scale_free=case.scale_free,
        )
        with fitness.writing():
            before = len(fitness.rows)
            strategy = search.GLO(
                seed, population_size=scale.population, generations=scale.generations
            )
            screening = search.screening.with_checks(
                scale.of_search.screening, gradients=fitness.gradients, bounds=None
            )
            found = search.search(strategy, fitness, out=out, screening=screening, quiet=True)
            line = {"run": case.number, "scale_free": case.scale_free, **NOTHING}
            line |= self._kinds(found) | self._reached(found, fitness, out)
            seconds = time.perf_counter() - started
            last = found.generations[-1]
            line |= {"asked": last.asked, "trained": last.trained}
            line["seconds"] = sum(row.seconds for row in fitness.rows.values())
            return line, seconds if len(fitness.rows) > before else 0.0

    def _kinds(self, found):
        """Return the kind of the best loss, and how many of each kind survived and were tried."""
        kind_of, line = discovery.kinds.kind_of, {}
        for best in found.best_losses(1):
            simple, gradient = str(best.simplified), discovery.kinds.gradient_size(best.expression)
            line = {"best": kind_of(best.individual.expression), "id": best.id}
            line |= {"formula": best.formula, "simplified": simple, "gradient": gradient}
        for name, members in (("surviving", found.population), ("tried", found.records.values())):
            rated = [one.individual.expression for one in members if one.evaluation.rank]
            kinds = [kind_of(expression) for expression in dict.fromkeys(rated)]
            line |= {f"{name}: {kind}": kinds.count(kind) for kind in discovery.kinds.KINDS}
        return line

    def _reached(self, found, fitness, out):
        """Return what the best loss and known ones reach: as in the search, and on test data."""
        known = [search.known.known_loss(name, fitness.classes, "sum") for name in KNOWN]
        line = {}
        for index, evaluation in fitness.each(known, KNOWN):
            line[f"fitness_{KNOWN[index]}"] = evaluation.rank[0] if evaluation.rank else None
        for best in found.best_losses(1):
            # By name: of a whole search the smallest of equally good losses would be compared.
            made = search.confirm(
                *({best.id: best.expression}, fitness),
                out=out,
                contenders=KNOWN,
                rate_runs=self.scale.rate_runs,
                new_runs=self.scale.new_runs,
                quiet=True,
            )
            line |= {"fitness_best": best.fitness[0], "verdict": made.verdict}
            for name in ("best", *KNOWN):
                # What a search has found again is trained once, as its best loss.
                cell = made.cells.get(name, made.cells[best.id])
                line |= {f"rate_{name}": cell.rate, f"test_{name}": cell.mean}
        return line


class Rediscovery(script.Script):
    """How often paper B's search finds Baikal: searches, a table and a figure of the shares."""

    scales = SCALES

    def add_options(self, parser):
        """Add the fields of the scale."""
        fields = ("seeds", "population", "generations", "steps")
        options.add_fields(parser, RediscoveryScale, fields)

    def chosen_scale(self, args):
        """Return the scale that the options name, with what they change of it."""
        scale = super().chosen_scale(args)
        if scale.steps % 4:
            raise UserError(f"{scale.steps} steps do not divide by 4")
        return scale

    def carry_out(self, args):
        """Search with each seed, in both ways; write what is known after each search."""
        scale = self.chosen_scale(args)
        extras.require("gplearn", "sympy")
        save = output.saver(args)
        out = output.folder(args, self.name, scale.name)
        cases = [Case(kind, number) for number in range(scale.seeds) for kind in VARIANTS]
        print(f"{len(cases)} searches; journals in {out / 'searches'}", flush=True)
        work = Searches(scale, out / "searches", args.seed, args.timeout)
        # It is that of a network, and a task of the executor is a whole search.
        args.timeout = None
        lines, fresh = {}, []
        with options.make_executor(args) as executor:
            for outcome in executor.run(work, cases):
                if outcome.failure is not None:
                    raise UserError(f"{outcome.task}: {outcome.failure.message}")
                lines[outcome.index], seconds = outcome.result
                fresh += [seconds] if seconds else []
                rest = len(cases) - len(lines)
                said = _progress(outcome.task, lines[outcome.index], fresh, rest, executor.workers)
                print(said, flush=True)
                # A call that goes on reads the finished searches first, which the files hold.
                if seconds or not rest:
                    ordered = [lines[index] for index in sorted(lines)]
                    with output.writing_to(out):
                        _write(report.tables.frame(ordered), scale, out, save, not rest)


def _progress(case, line, fresh, rest, workers):
    left = f", {duration(sum(fresh) / len(fresh) * rest / workers)}" if fresh and rest else ""
    return f"{case}: {line['best']}, {line['simplified']}; to go: {rest}{left}"


def _write(frame, scale, out, save, is_last):
    """Write tables and figure; print the tables at the end."""
    title = f"What paper B's search finds: {scale.note}"
    parts = [shares(frame), reached(frame)]
    notes = [f"- *{kind}*: {text}." for kind, text in discovery.kinds.KINDS.items()]
    notes = [NOTE, "\n".join(notes), REACHED]
    if is_last:
        print("", title, *map(report.tables.as_text, parts), *notes, sep="\n\n")
    draw = partial(figure, frame, title)
    output.write_table(out / "rediscovery", title, parts, notes, frame, draw, save)


NOTE = (
    "In how many searches the best loss is of a kind, one of the last generation (with its elites) "
    "is, or any loss that was trained or trains like one that was; in brackets the 95 % interval "
    "of Clopper and Pearson for the share, in %. A loss is of the first kind that fits, decided by "
    "values and gradients and not by the formula:"
)
REACHED = (
    "Mean over the searches, accuracy in %. In the search: validation after the training of a "
    "candidate, in the scale-free searches with each loss brought to cross entropy's size; the "
    "best of a search is the greatest of hundreds, which favours it. Test: new runs of each loss "
    "at its own best learning rate. Less CE: Student's interval over the searches. Better: "
    "searches whose confirmation says yes / no / not settled. Gradient: its size at an even "
    "prediction, where cross entropy's is 1; the median over the searches."
)


def shares(frame) -> list[list[str]]:
    """Return rows of text: in how many searches each kind of loss was found.

    Args:
        frame: The lines of `Searches` as a data frame.
    """
    rows = [["searches", "kind", "best", "surviving", "tried"]]
    for variant, found in _by_variant(frame):
        for kind in discovery.kinds.KINDS:
            counts = [(found.best == kind).sum()]
            counts += [(found[f"{what}: {kind}"] > 0).sum() for what in ("surviving", "tried")]
            rows.append([variant, kind, *(_share(int(k), len(found)) for k in counts)])
    return rows


def _share(count, total):
    low, high = report.statistics.share_interval(count, total)
    return f"{count} of {total} [{100 * low:.0f}, {100 * high:.0f}]"


def reached(frame) -> list[list[str]]:
    """Return rows of text: what the best losses and the known ones reach, on average."""
    names = ("best", *KNOWN)
    headings = [f"{what}, {name}" for what in ("in the search", "test") for name in names]
    rows = [["searches", *headings, "less CE", "better", "gradient"]]
    for variant, found in _by_variant(frame[frame.formula.notna()]):
        columns = [(f"fitness_{name}", 100) for name in names] + [(f"test_{n}", 1) for n in names]
        means = [_mean(found, column, factor) for column, factor in columns]
        gradient = report.tables.number(found.gradient.median(), ".3g")
        rows.append([variant, *means, _less_ce(found), _verdicts(found), gradient])
    return rows


def _mean(found, column, factor):
    return report.tables.number(factor * found[column].mean(), ".1f")


def _less_ce(found):
    pairs = found[["test_best", "test_CE"]].dropna().to_numpy(float)
    difference = report.statistics.paired_difference(*pairs.T)
    text = report.tables.number(difference.mean, "+.1f")
    if difference.low is None:
        return text
    return f"{text} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _verdicts(found):
    return " / ".join(str((found.verdict == verdict).sum()) for verdict in VERDICTS)


def _by_variant(frame):
    for scale_free, name in VARIANTS.items():
        found = frame[frame.scale_free == scale_free]
        if len(found):
            yield name, found


def figure(frame, title: str):
    """Draw the share of the searches whose best loss is of each kind."""
    panels = {}
    for variant, found in _by_variant(frame):
        counts = {kind: int((found.best == kind).sum()) for kind in discovery.kinds.KINDS}
        panels[variant] = [_dot(kind, count, len(found)) for kind, count in counts.items()]
    xlabel = "% of the searches whose best loss is of the kind"
    return report.plots.dot_plot(panels, title, xlabel=xlabel)


def _dot(kind, count, total):
    low, high = report.statistics.share_interval(count, total)
    text = f"{count} of {total}"
    return report.plots.Dot(kind, 100 * count / total, 100 * low, 100 * high, None, text)


REDISCOVERY = Rediscovery("rediscovery")
