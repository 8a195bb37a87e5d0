"""`search.html`: a page to watch a search with, one file that needs no network.

`search` writes it into its folder beside the journal; `write_page` makes it from a journal. The
page reloads itself while the search runs.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import in_a_line
from nglkeras.report import output
from nglkeras.runs import live_status, lock
from nglkeras.runs.journal import latest, read_records
from nglkeras.runs.live_status import LiveStatus, duration
from nglkeras.runs.status import PAGE
from nglkeras.search import presentation
from nglkeras.search.result import Result
from nglkeras.search.strategy import SEED
from nglkeras.search.trainings import JOURNAL, NetworkRow, rate_curves
from nglkeras.startup import extras

# Least number of seconds between two versions, and between two looks of the browser.
INTERVAL, RELOAD = 3.0, 10
# Part of the time that writing may take; versions are left out where it would take more.
SHARE = 0.01
# A search that ends earlier, in seconds, has nothing to watch and gets no page.
SHORTEST = 5.0
# Losses that are shown with their curves.
SHOWN = 3


def write_page(folder: str | Path) -> Path:
    """Write the page of a search, `search.html` in its folder, and return its path.

    Args:
        folder: Folder of the search, its `out`.

    Raises:
        MissingPackageError: If Bokeh, which draws the figures, is not installed.
        UserError: If the folder has no search or cannot be written to.
    """
    extras.require("jinja2", "bokeh")
    folder = paths.expand(folder)
    is_running = lock.holder(folder / "search.jsonl") is not None
    live = live_status.read(folder / "search.jsonl") if is_running else None
    return _write(folder, Result.load(folder), live)


def _write(folder, result, live):
    """Write the page; `live` is the live status of a search that is running, else `None`."""
    extras.require("jinja2", "bokeh")
    text = _render(folder, result, live)
    path = folder / PAGE
    # A browser sees the old page or the new one, never half of one.
    with output.writing_to(folder), paths.replacing(path) as file:
        file.write(text)
    return path


class LivePage:
    """Keeps the page of a running search up to date.

    Writing takes at most the part `SHARE` of the time: versions in between are left out. What goes
    wrong is said once, and the search goes on.

    Args:
        folder: Folder of the search.
        quiet: Whether to say nothing.
    """

    def __init__(self, folder: Path, *, quiet: bool = False):
        self.folder, self.quiet = folder, quiet
        self.failed = self.written = False
        self._begun = time.perf_counter()
        self._due = self._begun + SHORTEST

    def update(self, result: Callable[[], Result], live: Callable[[], LiveStatus]) -> None:
        """Write the page if the last version is old enough."""
        if time.perf_counter() >= self._due:
            self._write(result, live)

    def finish(self, result: Callable[[], Result]) -> None:
        """Write the last version, which does not reload itself, unless there is nothing to see."""
        is_long = time.perf_counter() - self._begun >= SHORTEST
        if is_long or self.written or (self.folder / PAGE).exists():
            self._write(result, lambda: None)

    def _write(self, result, live):
        if self.failed:
            return
        try:
            extras.require("jinja2", "bokeh.plotting")
            started = time.perf_counter()
            _write(self.folder, result(), live())
        # Whatever it is, it must not end hours of training.
        except Exception as error:
            self.failed = True
            if not self.quiet:
                output.say(in_a_line(f"{PAGE} is not written: {error}"))
            return
        now = time.perf_counter()
        # The first version takes longer than others: Bokeh is imported and fills its caches.
        cost = now - started if self.written else 0.0
        self._due = now + max(INTERVAL, cost / SHARE)
        self.written = True


def _render(folder, result, live):
    # Only here, since Bokeh is optional and takes a second to import.
    from nglkeras.search import page_plots as plots

    evaluated = plots.points(result.records.values())
    best, confirmation = result.best_losses(SHOWN), _confirmation(folder)
    figures = {}
    if result.records:
        figures["evaluations"] = plots.evaluations(result)
    if result.generations:
        figures["convergence"] = plots.convergence(result, evaluated)
    if best:
        figures["front"] = plots.front(result, evaluated)
        figures["genealogy"] = plots.genealogy(result)
    if confirmation.get("rates"):
        figures["rates"] = plots.rates(confirmation["rates"], confirmation["told"])
    if any(one.get("difference") is not None for one in confirmation.get("losses", ())):
        figures["differences"] = plots.differences(confirmation["losses"], confirmation["told"])
    script, elements = plots.embed(figures)
    curves = [plots.curves(loss.expression, loss.class_reduction) for loss in best]
    counts = Counter(name for one in result.records.values() for name in one.counts)
    kinds = Counter(map(plots.kind_of, result.records.values()))
    # To simplify a formula may take seconds, so that is left to the last version.
    describe = partial(_described, simplify=live is None)
    many = max((len(one.evaluation.rank) for one in result.records.values()), default=0) > 1
    return _template().render(
        library=plots.library(),
        scripts=[script, *(script for script, _ in curves)],
        plots=elements,
        name=folder.resolve().name,
        result=result,
        live=live,
        left=None if live is None or live.seconds_left is None else duration(live.seconds_left),
        written=datetime.now().astimezone(),
        reload=RELOAD,
        counts=counts,
        kinds={kind: kinds[kind] for kind in plots.KINDS if kinds[kind]},
        colors=plots.KINDS,
        failures=presentation.failures(
            one.evaluation for one in result.records.values() if "failed" in one.counts
        ),
        epochs=result.epochs,
        seconds=duration(result.seconds),
        best=[
            describe(loss) | {"curves": drawn}
            for loss, (_, drawn) in zip(best, curves, strict=True)
        ],
        front=[describe(loss) for loss in result.front],
        family=len(result.ancestors(best[0].id)) if best else 0,
        many=many,
        drawn=len(evaluated.data["id"]),
        rated=sum(bool(one.evaluation.rank) for one in result.records.values()),
        confirmation=confirmation,
    )


def _described(loss, simplify):
    """Return what the page says of a loss."""
    simple = loss.simplified if simplify and loss.made_by != SEED else loss.expression
    spread = presentation.spread(loss.evaluation)
    return {
        "id": loss.id,
        "fitness": presentation.shown(loss.fitness),
        "spread": "" if spread is None else f" ± {spread:.4f}",
        "size": loss.size,
        "simple_size": simple.size,
        "origin": presentation.origin(loss.individual),
        "mathml": simple.to_mathml(),
        "formula": loss.formula,
        "latex": simple.to_latex(),
    }


@cache
def _template():
    import jinja2

    source = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    return environment.from_string(source)


def _number(value, form="{:.2f}"):
    return "–" if value is None else form.format(value)


def _confirmation(folder):
    """Return what the confirmation says, if there is one; else how far it is."""
    try:
        found = json.loads((folder / "best.json").read_bytes()).get("confirmation") or {}
    except (OSError, ValueError, RecursionError, AttributeError):
        found = {}
    measure = found.get("measure", "accuracy")
    told = f"{measure}, %" if found.get("is_share", True) else f"100 x {measure}"
    journal = folder / JOURNAL
    if not journal.exists():
        return found and found | {"told": told}
    rows = list(read_records(journal, NetworkRow.from_json, lambda message: None))
    # Those of the verdict; while there is none, what the journal tells.
    rates = {one["loss"]: dict(one["rates"]) for one in found.get("losses", ()) if "rates" in one}
    if not rates:
        rates = {
            name: {rate: 100 * value for rate, value in curve.accuracies.items()}
            for name, curve in rate_curves(latest(rows).values()).items()
        }
    return {**found, "told": told, "rates": rates, "networks": len(rows)}
