"""Many small searches with confirmation on two tasks: how often they say "better"."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import report, search
from nglkeras.errors import UserError
from nglkeras.experiments import calibration, options, script
from nglkeras.experiments.options import Scale, by_name
from nglkeras.report import output
from nglkeras.seeds import numbered

TASKS = ("shuffled", "outliers")


@dataclass(frozen=True, kw_only=True)
class CalibrationScale(Scale):
    """A calibration.

    Attributes:
        searches: Searches on each task, each with data and seeds of its own.
        population: Survivors of a search.
        generations: Last generation of a search.
        new_runs: Tested networks for each loss.
    """

    searches: int
    population: int = 4
    generations: int = 2
    new_runs: int = 10


SCALES = by_name(
    CalibrationScale(name="demo", note="two searches a task show how it is done", searches=2),
    CalibrationScale(name="full", note="twenty searches a task", searches=20),
)


@dataclass(frozen=True)
class Case:
    """One search: its task and its number, which is its seed."""

    task: str
    number: int

    def __str__(self):
        return f"{self.task} {self.number}"


class Searches:
    """Carries out cases; what an interrupted one has trained is in its folder.

    Args:
        scale: The scale.
        out: Folder of the searches.
        timeout: Seconds after which the training of a network stops.
    """

    def __init__(self, scale: CalibrationScale, out: Path, timeout: float | None = None):
        self.scale, self.out, self.timeout = scale, out, timeout

    def __call__(self, case: Case) -> dict:
        """Search, confirm, and return a line of the CSV file."""
        import keras

        keras.utils.clear_session()
        tasks, scale = calibration.tasks, self.scale
        task = tasks.make(case.task, case.number, self.timeout)
        out = self.out / case.task / str(case.number)
        strategy = search.GeneticProgramming(
            case.number, population_size=scale.population, generations=scale.generations
        )
        known = ["CE", "NGL", tasks.GENERALIZED]
        found = search.search(strategy, task.fitness, out=out, seeds=known, quiet=True)
        made = search.confirm(
            *(found, task.fitness, task.test),
            out=out,
            contenders=("CE", "NGL"),
            best=2,
            new_runs=scale.new_runs,
            max_added=2,
            quiet=True,
        )
        best, reference = made.cells[made.best], made.cells["CE"]
        others = [cell for cell in made.cells.values() if cell.pairs]
        alone = {cell.loss: report.statistics.paired_difference(*cell.pairs) for cell in others}
        holm = report.statistics.holm([found.p for found in alone.values()])
        p_alone = dict(zip(alone, holm, strict=True))[made.best]
        return {
            "task": case.task,
            "search": case.number,
            "verdict": made.verdict,
            "best": made.best,
            "formula": made.formulas[made.best],
            "rate": best.rate,
            "accuracy": best.mean,
            "ce_rate": reference.rate,
            "ce_accuracy": reference.mean,
            "difference": best.paired.mean,
            "low": best.paired.low,
            "high": best.paired.high,
            "p": best.p_paired,
            "p_holm": best.p_holm,
            "p_runs_alone": p_alone,
            "runs_alone": report.statistics.verdict(alone[made.best], p_alone),
            "losses": len(made.cells),
            "better": sum(cell.shown == "better" for cell in made.cells.values()),
            "networks": len(made.rows),
            "seconds": found.seconds + sum(row["seconds"] for row in made.rows),
        }


class Calibration(script.Script):
    """How often confirmation says "better": searches, a table and a figure of the differences."""

    scales = SCALES

    def add_options(self, parser):
        """Add the number of searches."""
        options.add_fields(parser, CalibrationScale, ("searches",))

    def carry_out(self, args):
        """Search on both tasks, and count the verdicts."""
        scale = self.chosen_scale(args)
        save = output.saver(args)
        out = output.folder(args, self.name, scale.name)
        numbers = [numbered(args.seed, number) for number in range(scale.searches)]
        cases = [Case(task, number) for number in numbers for task in TASKS]
        print(f"{len(cases)} searches; journals in {out / 'searches'}", flush=True)
        work = Searches(scale, out / "searches", args.timeout)
        # It is that of a network, and a task of the executor is a whole search.
        args.timeout = None
        lines = {}
        with options.make_executor(args) as executor:
            for outcome in executor.run(work, cases):
                if outcome.failure is not None:
                    raise UserError(f"{outcome.task}: {outcome.failure.message}")
                line = lines[outcome.index] = outcome.result
                print(f"{outcome.task}: {line['verdict']}, {line['formula']}", flush=True)
        frame = report.tables.frame([lines[index] for index in sorted(lines)])
        with output.writing_to(out):
            title = f"Searches that say their best loss is better than cross entropy: {scale.note}"
            columns = ["task", "searches", *VERDICTS, "better, runs alone"]
            table = [columns, *(_counts(frame, task) for task in TASKS)]
            notes = [calibration.tasks.__doc__.partition("\n\n")[2].strip(), NOTE]
            print("", title, "", report.tables.as_text(table), sep="\n")
            draw = partial(figure, frame, title)
            output.write_table(out / "calibration", title, [table], notes, frame, draw, save)


VERDICTS = ("yes", "no", "not settled")
NOTE = (
    "Better, runs alone: the same networks with p of the runs alone (paired t-test, Holm), which "
    "takes what is peculiar to these test data for a merit of the loss."
)


def _counts(frame, task):
    found = frame[frame.task == task]
    counts = [int((found.verdict == verdict).sum()) for verdict in VERDICTS]
    alone = int((found.runs_alone == "better").sum())
    return list(map(str, (task, len(found), *counts, alone)))


def figure(frame, title: str):
    """Draw the difference to cross entropy in each search, with Student's intervals."""
    dots = report.plots.Dot
    panels = {
        task: [
            dots(str(line.search), line.difference, line.low, line.high, None, line.verdict)
            for line in frame[frame.task == task].itertuples()
        ]
        for task in TASKS
    }
    xlabel = "points above cross entropy at its own best rate"
    return report.plots.dot_plot(panels, title, xlabel=xlabel, reference=0.0)


CALIBRATION = Calibration("calibration")
