"""The fitness of a loss by trials."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from nglkeras.errors import UserError
from nglkeras.experiments.discovery import TrialFitness
from nglkeras.experiments.glo import protocol
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.report.rates import FIRST_NEW
from nglkeras.runs.journal import Journal
from nglkeras.search import Network
from nglkeras.search.trainer import named

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


class TestTrainer:
    @pytest.fixture
    def trainer(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = TrialFitness(lambda formula: protocol.candidate(TINY, formula), journal)
        return evaluate.trainer(named({"a": BAIKAL, "Focal": "Focal", "CE": "CE"}))

    def test_a_network_is_a_trial_at_its_rate(self, trainer):
        networks = [
            Network(name, loss, rate, run)
            for name, loss in named({"a": BAIKAL, "Focal": "Focal"}).items()
            for rate, run in ((0.01, 0), (0.1, 0), (0.1, FIRST_NEW))
        ]
        found = dict(trainer.each(networks))
        rows = trainer.fitness.journal.results()
        assert list(rows) == [trainer.key(network) for network in networks]
        assert [row.trial["loss"] for row in rows.values()] == ["candidate"] * 3 + ["Focal"] * 3
        for index, row in enumerate(rows.values()):
            assert (found[index].validation, found[index].test) == (
                row.validation_accuracy,
                row.accuracy,
            )
            assert (row.accuracy is None) == (networks[index].run < FIRST_NEW)
            parts = found[index].parts
            assert len(parts) == (0 if row.accuracy is None else 10)
            assert not parts or np.mean(parts) == pytest.approx(row.accuracy, abs=1e-6)
            assert row.history[-1]["learning_rate"] == pytest.approx(networks[index].learning_rate)
        # One network for all losses and rates; nothing is kept of the run before.
        (network,) = trainer.work.networks.values()
        assert network.loss.traces <= 3
        assert list(network._starts) == [FIRST_NEW]
        assert (trainer.rate, trainer.chance) == (0.01, 0.1)

    def test_the_same_row_whichever_other_losses_there_are(self, trainer, tmp_path):
        journal = Journal(tmp_path / "other.jsonl")
        evaluate = TrialFitness(lambda formula: protocol.candidate(TINY, formula), journal)
        alone = evaluate.trainer(named({"b": BAIKAL}))
        run = {"learning_rate": 0.1, "run": FIRST_NEW}
        found = [one(name, BAIKAL, **run) for one, name in ((trainer, "a"), (alone, "b"))]
        assert (found[0].validation, found[0].test) == (found[1].validation, found[1].test)

    @pytest.mark.parametrize(
        ("losses", "test", "message"),
        [
            ({"mine": keras.losses.Poisson()}, None, "mine is a Keras loss; trials take rows"),
            ({"mine": "Poisson"}, None, "mine is a Keras loss; trials take rows"),
            ({"mine": "ASL (multi-label)"}, None, "mine is a loss of sigmoids"),
            ({"CE": "CE"}, (1, 2), "have test sets of their own"),
        ],
    )
    def test_mistakes(self, trainer, losses, test, message):
        with pytest.raises(UserError, match=message):
            trainer.fitness.trainer(named(losses), test)
