"""What the networks of a confirmation say of each loss, and the verdict on the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from nglkeras.report import tables
from nglkeras.report.best_rates import cell_of
from nglkeras.report.rates import DIVERGED, RateCurve
from nglkeras.search.budget import Plan
from nglkeras.search.given_losses import formula_of
from nglkeras.search.trainer import PARTS
from nglkeras.search.trainings import NetworkRow, Trainings
from nglkeras.search.verdict import NO, NOT_SETTLED, REFERENCE, Confirmation, verdict_of


def concluded(
    plan: Plan,
    curves: Mapping[str, RateCurve],
    rows: Sequence[NetworkRow],
    tested: Sequence[NetworkRow],
    work: Trainings,
    notes: Sequence[str],
) -> Confirmation:
    """Compare the losses of a confirmation.

    Args:
        plan: What was trained.
        curves: Validation of each loss over the learning rates.
        rows: The networks that chose the rates.
        tested: The new runs.
        work: Losses and trainer.
        notes: Sentences for the reader, e.g. what was cut.
    """
    trainer = work.trainer
    measured = [row.test for row in tested if row.status == "ok"]
    guess = min(measured, default=None) if trainer.chance is None else trainer.chance
    parts = _parts(tested, guess)
    # A value beyond [0, 1] shows that a measure is no share, whatever it is taken for.
    is_share = trainer.is_share and all(-1e-6 <= value <= 1 + 1e-6 for value in measured)
    reached = {name: {} for name in plan.losses}
    for row in tested:
        value = guess if row.status in DIVERGED else row.test
        # Where nobody knows what a guess reaches, the least that any loss has reached stands for
        # it. For cross entropy that would favour whatever it is compared with.
        is_unknown = row.loss == REFERENCE and row.status in DIVERGED and trainer.chance is None
        if row.status in ("ok", *DIVERGED) and value is not None and not is_unknown:
            reached[row.loss][row.run] = 100 * value
    cells = []
    for name, values in reached.items():
        sample = {"values": [*values.values()], "run_numbers": [*values], "is_share": is_share}
        sample["rows"] = [row for row in tested if row.loss == name]
        if parts and name != REFERENCE:
            both = values.keys() & reached[REFERENCE].keys()
            found = [parts[name, run] - parts[REFERENCE, run] for run in sorted(both)]
            sample["parts"] = found or None
        cells.append(cell_of(name, curves[name], **sample))
    # Cross entropy first: it is the reference of all.
    cells = {cell.loss: cell for cell in tables.with_references(cells)}
    able = [name for name in plan.candidates if curves[name].best is not None]
    best = max(able, key=lambda name: cells[name].validation, default=plan.candidates[0])
    verdict, why = verdict_of(
        cells[best], cells[REFERENCE], curves[best], curves[REFERENCE], plan.rates
    )
    if verdict == NO and _lost(tested, trainer.chance):
        # The pairs that are left are those in which cross entropy did well.
        verdict = NOT_SETTLED
    return Confirmation(
        plan.candidates,
        plan.contenders,
        best=best,
        verdict=verdict,
        formulas={name: formula_of(work.losses[name]) for name in plan.losses},
        curves=curves,
        cells=cells,
        rows=tuple(asdict(row) for row in (*rows, *tested)),
        rate_runs=plan.rate_runs,
        measure=trainer.measure,
        notes=(*why, *notes, *_reservations(tested, parts, trainer.chance), *trainer.notes),
    )


def _reservations(tested, parts, chance):
    """Yield what the numbers do not show: few parts of the test data, pairs without a guess."""
    counts = {len(values) for values in parts.values()}
    if counts and (count := counts.pop()) < PARTS:
        yield f"What other test data would change is known from {count} parts of these alone."
    if lost := _lost(tested, chance):
        yield (
            f"{REFERENCE} diverged in {lost} of its new runs. Their pairs are left out of all "
            "differences: what a guess reaches is not known."
        )


def _lost(tested, chance):
    """Return the number of new runs of cross entropy that diverged, where no guess is known."""
    lost = sum(row.loss == REFERENCE and row.status in DIVERGED for row in tested)
    return lost if chance is None else 0


def _parts(tested, guess):
    """Return what networks reach on parts of the test data, in %, by loss and run.

    It is empty where a trainer does not tell, and without the parts of which one cannot be
    measured, such as the area under the curve of a part with one class.
    """
    rows = [row for row in tested if row.status == "ok" and row.test is not None]
    found = {(row.loss, row.run): np.array(row.parts, float) for row in rows}
    counts = {len(values) for values in found.values()}
    if len(counts) != 1 or counts == {0}:
        return {}
    values = np.array(list(found.values()))
    is_known = np.isfinite(values).all(axis=0)
    if is_known.sum() < 2:
        return {}
    if np.allclose(values.sum(axis=1), [row.test for row in rows], rtol=1e-4, atol=0):
        # A measure that is a total over samples, such as a cost, is smaller on parts.
        found = {place: len(is_known) * values for place, values in found.items()}
    for row in tested:
        if row.status in DIVERGED and guess is not None:
            found[row.loss, row.run] = np.full(len(is_known), guess)
    return {place: 100 * values[is_known] for place, values in found.items()}
