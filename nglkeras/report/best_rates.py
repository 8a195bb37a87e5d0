"""What each loss is worth at its own best learning rate: cells and rows of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.report import statistics, tables
from nglkeras.report.rates import RateCurve
from nglkeras.report.tables import interval_text, number, range_text


@dataclass(frozen=True, kw_only=True)
class BestRateCell(tables.Cell):
    """A loss at its own best rate; values are 100 x test accuracies, one a new seed.

    Attributes:
        rate: The best rate; `None` where no network gave one.
        open_ends: The ends of the rates beyond which a better one may lie.
        validation: Mean validation accuracy that it was chosen by, in %.
        factor: Size of the loss's gradient at uniform predictions, as a multiple of CE's; `None`
            where it was not asked for.
        parts: Differences to CE in each pair (line) on each part of the test data (column), in %;
            `None` where they are not known. With them, intervals and p cover other test data too.
        is_share: Whether values are in %, of which ±0.5 count as the same.
    """

    rate: float | None
    open_ends: tuple[str, ...] = ()
    validation: float | None = None
    factor: float | None = None
    parts: Sequence[Sequence[float]] | None = None
    is_share: bool = True

    @cached_property
    def paired(self) -> statistics.Difference:
        """The difference to cross entropy in the pairs; empty without any."""
        if self.parts is None:
            return super().paired
        return statistics.crossed_difference(self._crossed)

    @cached_property
    def _crossed(self):
        # The measure of all test data need not be the mean over parts: the area under a curve is
        # not.
        parts = np.asarray(self.parts, float)
        return parts - parts.mean() + statistics.paired_difference(*self.pairs).mean

    @cached_property
    def p_outside(self) -> float | None:
        """The p of a difference outside the paper's band (TOST on the pairs)."""
        if not self.is_share:
            return None
        if self.parts is None:
            return super().p_outside
        return statistics.crossed_equivalence_p(self._crossed, self.margin)

    @property
    def rate_seen(self) -> float | None:
        """The rate in cross entropy's terms: with which CE would take as large a first step."""
        return None if None in (self.rate, self.factor) else self.rate * self.factor

    @cached_property
    def paired_interval(self) -> tuple[float | None, float | None]:
        """95 % bootstrap interval of the paired difference."""
        if self.parts is not None:
            return statistics.crossed_interval(self._crossed)
        if self.pairs is None:
            return None, None
        values, references = self.pairs
        return statistics.bootstrap_interval([values], [references], paired=True)


def cell_of(loss: str, curve: RateCurve, factor: float | None = None, **sample) -> BestRateCell:
    """Return the cell of a loss; `sample` are its tests at the best rate, as in `tables.Cell`."""
    best = curve.accuracies.get(curve.best)
    return BestRateCell(
        loss=loss,
        rate=curve.best,
        open_ends=curve.open_ends,
        validation=None if best is None else 100 * best,
        factor=factor,
        **sample,
    )


def layout(table: Sequence[BestRateCell]) -> list[list[str]]:
    """Return rows of text: a heading, then a line for each loss at its own best rate.

    Columns about the sizes of gradients are left out where no cell has one.
    """
    percent = "test %" if all(cell.is_share for cell in table) else "100 x test"
    columns = {
        "loss": lambda cell: nglkeras.losses.label(cell.loss),
        "gradient": lambda cell: number(cell.factor, ".3g"),
        "best rate": lambda cell: number(cell.rate, "g") + " (edge)" * bool(cell.open_ends),
        "as CE's": lambda cell: number(cell.rate_seen, ".2g"),
        "n": lambda cell: cell.runs,
        percent: lambda cell: number(cell.mean, ".2f"),
        "95 %": interval_text,
        "less CE": lambda cell: number(cell.paired.mean, "+.2f"),
        "95 % of it": lambda cell: range_text(cell.paired.low, cell.paired.high, "+.2f"),
        "bootstrap": lambda cell: range_text(*cell.paired_interval, "+.2f"),
        "P(better)": lambda cell: number(cell.p_better, ".2f"),
        "Holm's p": lambda cell: number(cell.p_holm, ".2g"),
        "verdict": lambda cell: cell.shown,
        "not ok": lambda cell: cell.failed,
    }
    if all(cell.factor is None for cell in table):
        del columns["gradient"], columns["as CE's"]
    return tables.columns_of(table, columns)


def curve_layout(curves: Mapping[str, RateCurve]) -> list[list[str]]:
    """Return rows of text: 100 x validation of each loss (a line) at each rate (a column).

    The best of a loss is marked with *, a rate at which a network diverged with x.
    """
    rates = sorted({rate for curve in curves.values() for rate in curve.rates})
    lines = [["rate", *(f"{rate:g}" for rate in rates)]]
    for loss, curve in curves.items():
        texts = []
        for rate in rates:
            text = ""
            if rate in curve.accuracies:
                text = f"{100 * curve.accuracies[rate]:.2f}"
                text += "*" * (rate == curve.best) + "x" * (rate in curve.diverged)
            texts.append(text)
        lines.append([nglkeras.losses.label(loss), *texts])
    return lines
