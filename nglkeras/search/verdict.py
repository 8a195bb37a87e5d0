"""What a confirmation says: a verdict, the numbers behind it, text, tables and a figure."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nglkeras.report import best_rates, plots, tables
from nglkeras.report.best_rates import BestRateCell
from nglkeras.report.rates import RateCurve
from nglkeras.report.tables import SAME

# Name of cross entropy, which everything is compared with.
REFERENCE = "CE"
YES, NO, NOT_SETTLED = "yes", "no", "not settled"
# What `statistics.verdict` says, as an answer to "is it better?".
_ANSWERS = {"better": YES, "worse": NO, "equivalent": NO}


def verdict_of(
    cell: BestRateCell,
    reference: BestRateCell,
    own: RateCurve,
    curve: RateCurve,
    begun: Sequence[float],
) -> tuple[str, list[str]]:
    """Return whether a loss is better than cross entropy, and sentences that say why not.

    Args:
        cell: The loss at its own best rate.
        reference: Cross entropy at its own.
        own: The loss at all rates.
        curve: Cross entropy at all rates.
        begun: The rates that every loss begins with.
    """
    if not reference.runs or not cell.runs:
        lost = cell if reference.runs else reference
        return NOT_SETTLED, [f"No new run of {lost.loss} came to its end: {_failures(lost)}."]
    if cell.pairs and np.array_equal(*cell.pairs):
        if not cell.finished:
            return NOT_SETTLED, [f"Every new run of {cell.loss} and of {REFERENCE} diverged."]
        return NO, [f"{cell.loss} reaches in every run what {REFERENCE} reaches."]
    answer = _ANSWERS.get(cell.shown, NOT_SETTLED)
    # Whoever is behind may only lack its rate.
    behind = {YES: (REFERENCE, curve), NO: (cell.loss, own)}
    name, tried = behind.get(answer, ("", None))
    if tried and tried.edges:
        why = f"The best rate of {name} lies at the edge of its rates: a better one may exist."
        return NOT_SETTLED, [why]
    if answer == YES and curve.wanted(begun):
        why = f"{REFERENCE} has learnt nothing at its rates, and further ones were not tried."
        return NOT_SETTLED, [why]
    return answer, []


def _failures(cell):
    return cell.failed or "no learning rate gave one"


@dataclass(frozen=True)
class Confirmation:
    """Whether the best loss of a search is better than cross entropy at its own best rate.

    Print it, or show it in a notebook's cell.

    Attributes:
        candidates: Names of the losses that the search has found.
        contenders: Names of those that they were compared with.
        best: The candidate that the verdict is about: the one that validates best at its own rate.
        verdict: "yes", "no" or "not settled".
        formulas: Formulas of the losses by name.
        curves: Validation of each loss over the learning rates.
        cells: Each loss at its own best rate: what its new runs have reached, times 100.
        rows: Every network, as in confirm.jsonl.
        rate_runs: Networks for each loss and rate.
        measure: Name of the measure, of which more is better.
        notes: Sentences for the reader, e.g. what was cut.
    """

    candidates: tuple[str, ...]
    contenders: tuple[str, ...]
    best: str = ""
    verdict: str = NOT_SETTLED
    formulas: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, RateCurve] = field(default_factory=dict)
    cells: Mapping[str, BestRateCell] = field(default_factory=dict)
    rows: Sequence[dict] = ()
    rate_runs: int = 0
    measure: str = "accuracy"
    notes: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        about = self.best or self.candidates[0]
        said = f"{about}: better than cross entropy at its own best rate: {self.verdict}"
        if not (self.cells and self.cells[about].pairs):
            return said
        cell = self.cells[about]
        difference, (values, references) = cell.paired, cell.pairs
        percent, points = (" %", " points") if self.is_share else ("", "")
        said += (
            f" ({self.shown_measure} {np.mean(values):.2f}{percent} against "
            f"{np.mean(references):.2f}{percent}, {difference.mean:+.2f}{points}"
        )
        if difference.low is not None:
            said += f", 95 % interval [{difference.low:+.2f}, {difference.high:+.2f}]"
        if cell.p_holm is not None:
            said += f", Holm's p {cell.p_holm:.2g}"
        return f"{said}, {len(values)} new run{'s' * (len(values) > 1)})"

    @property
    def is_share(self) -> bool:
        """Whether the measure is a share in [0, 1], which is told in %."""
        return all(cell.is_share for cell in self.cells.values())

    @property
    def shown_measure(self) -> str:
        """Name of the measure beside values in %, or times 100 where it is no share."""
        return self.measure if self.is_share else f"100 x {self.measure}"

    def table(self) -> pd.DataFrame:
        """Return a line for each loss; rates as they are, the measure times 100."""
        return pd.DataFrame([self._line(cell) for cell in self.cells.values()])

    def _line(self, cell):
        low, high = cell.paired_interval
        return {
            "loss": cell.loss,
            "role": "candidate" if cell.loss in self.candidates else "contender",
            "formula": self.formulas[cell.loss],
            "rate": cell.rate,
            "edge": "/".join(cell.open_ends),
            "validation": cell.validation,
            "runs": cell.runs,
            "test": cell.mean,
            "low": cell.low,
            "high": cell.high,
            "difference": cell.paired.mean,
            "difference_low": cell.paired.low,
            "difference_high": cell.paired.high,
            "bootstrap_low": low,
            "bootstrap_high": high,
            "p_better": cell.p_better,
            "p": cell.p_paired,
            "p_holm": cell.p_holm,
            "verdict": cell.shown,
            "failed": cell.failed,
        }

    def networks(self) -> pd.DataFrame:
        """Return a line for each network, for a CSV file; measures as they are."""
        return pd.DataFrame(list(self.rows)).drop(columns=["key", "parts"], errors="ignore")

    def to_json(self) -> dict:
        """Return the verdict and the numbers behind it as JSON data."""
        lines = [
            self._line(cell)
            | {
                "rates": [[rate, 100 * v] for rate, v in self.curves[cell.loss].accuracies.items()],
                "values": list(map(float, cell.values)),
                "new_runs": list(cell.run_numbers),
            }
            for cell in self.cells.values()
        ]
        return {
            "sentence": self.sentence,
            "verdict": self.verdict,
            "best": self.best,
            "measure": self.measure,
            "is_share": self.is_share,
            "rate_runs": self.rate_runs,
            "losses": lines,
            "notes": list(self.notes),
        }

    @property
    def _confirmed(self):
        """Names and formulas of the candidates, without those that a time budget left out."""
        return [(name, self.formulas[name]) for name in self.candidates if name in self.cells]

    @property
    def _tables(self):
        """Tables as rows of text, with notes that say what stands in them."""
        if not self.cells:
            return [], list(self.notes)
        table = list(self.cells.values())
        found = [best_rates.layout(table), best_rates.curve_layout(self.curves)]
        return found, [*self.notes, *self._explained()]

    def _explained(self):
        has_parts = any(cell.parts for cell in self.cells.values())
        covered = "which cover other runs and other test data"
        if not has_parts:
            covered = "which cover other runs, on these test data"
        edges = [cell.loss for cell in self.cells.values() if cell.open_ends]
        same = "none is called equivalent, for what counts as the same is not known of this measure"
        if self.is_share:
            same = f"equivalent: within ±{SAME:g} points"
        yield (
            f"{self.shown_measure}{' in %' * self.is_share}. Each loss is at its own best rate, "
            "chosen by the validation of "
            f"{self.rate_runs} network{'s' * (self.rate_runs > 1)} a rate (second table: * the "
            "best, x a network diverged, which counts as a guess); n new runs are tested, which "
            "nothing was chosen by. Less CE: in pairs of equal split and initial weights, with "
            f"Student's interval and the bootstrap's, {covered}. Holm's p is corrected for all "
            f"losses here; better and worse: below 0.05; {same}."
        )
        if edges:
            yield f"The best rate of {', '.join(edges)} may lie beyond the rates that were tried."

    def __str__(self):
        return self._text("{}", "{}: {}", tables.as_text)

    def to_markdown(self) -> str:
        """Return the confirmation as a section of a Markdown file."""
        return self._text("**{}**", "- {}: `{}`", tables.as_markdown)

    def _text(self, sentence, candidate, as_table):
        found, notes = self._tables
        named = [candidate.format(*pair) for pair in self._confirmed]
        body = [sentence.format(self.sentence), "\n".join(named), *map(as_table, found), *notes]
        return "\n\n".join(filter(None, body))

    def _repr_html_(self):
        shown, notes = self._tables
        found = [f"<p><b>{html.escape(self.sentence)}</b></p>"]
        for name, formula in self._confirmed:
            found.append(f"<p>{html.escape(name)}: <code>{html.escape(formula)}</code></p>")
        for heading, *body in shown:
            frame = pd.DataFrame(body, columns=heading)
            found.append(frame.to_html(index=False, border=0))
        return "\n".join([*found, *(f"<p>{html.escape(note)}</p>" for note in notes)])

    def figure(self) -> Figure:
        """Draw validation over the learning rate, and the new runs of each loss at its best one."""
        title = self.sentence.partition(" (")[0]
        cells, unit = list(self.cells.values()), ", %" if self.is_share else ""
        return plots.best_rates(self.curves, cells, title, self.shown_measure, unit)
