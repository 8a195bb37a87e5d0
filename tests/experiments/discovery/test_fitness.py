"""The fitness of a loss by trials."""

from dataclasses import replace

import pytest

from nglkeras.experiments.discovery import TrialFitness
from nglkeras.experiments.glo import protocol
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.runs.journal import Journal

BAIKAL = Expression.parse(FORMULAS["Baikal"])


TINY = replace(
    protocol.SCALES["demo"], model="head", train_images=200, search_steps=8, evaluation_images=50
)


class TestFitness:
    def test_a_candidate_is_a_row_of_validation(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = TrialFitness(lambda formula: protocol.candidate(TINY, formula), journal)
        outcome = evaluate(BAIKAL)
        assert outcome.status == "ok"
        (row,) = journal.results().values()
        assert row.accuracy is None
        assert outcome.fitness == (row.validation_accuracy,)
        assert row.trial["schedule"]["steps_per_epoch"] == 2
        assert len(row.history) == 4
        # From the journal the second time.
        assert evaluate(BAIKAL) == outcome
        assert (evaluate.class_reduction, evaluate.gradients) == ("sum", "exact")

    def test_the_sum_over_the_classes_is_what_is_trained(self, tmp_path):
        rows = []
        for reduction, formula in (
            ("sum", "-(y_true*log(y_pred))"),
            ("mean", "-10*(y_true*log(y_pred))"),
        ):
            journal = Journal(tmp_path / f"{reduction}.jsonl")
            evaluate = TrialFitness(
                lambda f, r=reduction: protocol.candidate(TINY, f, class_reduction=r), journal
            )
            evaluate(Expression.parse(formula))
            rows += journal.results().values()
        assert rows[0].history[-1]["loss"] == pytest.approx(rows[1].history[-1]["loss"], rel=1e-4)

    def test_scale_free_trains_what_it_records(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")

        def make(**options):
            return TrialFitness(lambda f: protocol.candidate(TINY, f), journal, **options)

        evaluate = make(scale_free=True)
        assert evaluate.settings == make().settings | {"scale_free": True}
        assert (evaluate.gradients, make().gradients) == ("scaled", "exact")
        ce = Expression.parse("-40*(y_true*log(y_pred))")
        outcome = evaluate(ce)
        assert outcome.details["scale_free_factor"] == 0.025
        (row,) = journal.results().values()
        assert row.trial["formula"] == str(Expression(("mul", 0.025, *ce.nodes)))
        assert outcome.fitness == make()(evaluate.cross_entropy("digits")).fitness
        flat = Expression.parse("y_true + 0*y_pred")
        assert "untrained network has the size 0" in evaluate.refuse(flat)
        assert evaluate(flat).status == "non_finite"

    def test_a_loss_that_leaves_the_numbers_has_no_fitness(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = TrialFitness(lambda formula: protocol.candidate(TINY, formula), journal)
        huge = Expression.parse("-1e8*square(square(1e8*(y_true/(y_pred*y_pred))))")
        outcome = evaluate(huge)
        assert (outcome.status, outcome.rank) == ("non_finite", ())
