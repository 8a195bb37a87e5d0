"""The fitness of a loss by trials."""

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from nglkeras.errors import UserError
from nglkeras.experiments.discovery.fitness import TrialFitness
from nglkeras.experiments.glo import protocol
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.report.rates import FIRST_NEW
from nglkeras.runs.journal import Journal
from nglkeras.search import Evaluation, Individual, Member, Network, Racing
from nglkeras.search.given_losses import named

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


class TestRacing:
    SCALE = replace(TINY, runs=2)
    RACING = Racing(1)

    def plan(self, formula, sets=("digits",)):
        (trial,) = protocol.candidate(self.SCALE, formula)
        return [replace(trial, run=run, dataset=name) for run in (0, 1) for name in sets]

    def make(self, folder, racing=RACING, sets=("digits",), **settings):
        journal = Journal(folder / "trials.jsonl")
        return TrialFitness(partial(self.plan, sets=sets), journal, racing=racing, **settings)

    def race(self, evaluate, curves, accuracies, losses=(BAIKAL,)):
        """The evaluations beside a survivor with these curves and accuracies."""
        sets = evaluate.datasets
        details = {
            "curves": dict.fromkeys(sets, curves),
            "accuracies": dict.fromkeys(sets, accuracies),
        }
        rival = Member(Individual(BAIKAL, 0, 0), Evaluation("ok", (0.5,), details=details))
        evaluate.begin_generation([rival], [rival])
        names = [f"1-{index}" for index in range(len(losses))]
        found = dict(evaluate.each(losses, names))
        return [found[index] for index in range(len(losses))]

    def test_a_stopped_row_is_final_for_those_who_race_alone(self, tmp_path):
        evaluate = self.make(tmp_path)
        (found,) = self.race(evaluate, [[2.0] * 4, [0.0] * 4], [0.0, 0.0])
        assert (found.status, found.rank) == ("stopped", ())
        assert "network 1: 0." in found.message
        assert found.details["epochs"] == [1, 8]
        (row,) = evaluate.journal.results().values()
        assert (row.status, row.key) == ("stopped", self.plan(str(BAIKAL))[0].key)
        assert "bars" not in row.trial
        before = evaluate.journal.path.read_bytes()
        assert self.race(self.make(tmp_path), [[2.0] * 4, [0.0] * 4], [0.0, 0.0]) == [found]
        assert evaluate.journal.path.read_bytes() == before
        # Without bars, as in generation 0 or a confirmation, it is trained to its end.
        evaluate.begin_generation([], [])
        assert evaluate(BAIKAL).status == "ok"
        statuses = [row.status for row in evaluate.rows_of(self.plan(str(BAIKAL)))]
        assert statuses == ["ok", "ok"]

    def test_all_have_their_first_network_before_one_has_its_second(self, tmp_path):
        losses = [BAIKAL, Expression.parse("-100*(y_true*log(y_pred))")]
        whole = [self.make(tmp_path / "whole")(loss) for loss in losses]
        first = [one.details["accuracies"]["digits"][0] for one in whole]
        assert abs(first[0] - first[1]) > 0.02
        best = int(np.argmax(first))
        evaluate = self.make(tmp_path / "race")
        found = self.race(evaluate, [[0.0] * 4] * 2, [max(first)] * 2, losses)
        rows = list(evaluate.journal.results().values())
        assert [row.trial["run"] for row in rows] == [0, 0, 1]
        assert rows[2].trial["formula"] == str(losses[best])
        assert found[best].status == "ok"
        assert found[best].details == whole[best].details
        assert found[1 - best].status == "stopped"
        assert f"{min(first):.4f} after network 1, below " in found[1 - best].message

    def test_over_several_data_sets_the_mean_of_a_run_decides(self, tmp_path):
        sets = ("digits", "digits_turned")
        evaluate = self.make(tmp_path, sets=sets)
        (high,) = self.race(evaluate, [[2.0] * 4] * 2, [0.1, 0.1])
        # No bars within a run.
        assert (high.status, high.details["epochs"]) == ("ok", [16, 16])
        mean = np.mean([values[0] for values in high.details["accuracies"].values()])
        for change, status in ((0.0, "ok"), (0.02, "stopped")):
            (found,) = self.race(evaluate, [[0.0] * 4] * 2, [mean + change] * 2)
            assert found.status == status
        assert set(found.details["curves"]) == set(sets)
        assert found.details["epochs"] == [8, 16]

    def test_where_it_is_chosen_and_where_it_is_not(self, tmp_path):
        plain = self.make(tmp_path, racing=False).settings
        chosen = self.make(tmp_path, racing=None)
        assert chosen.settings == plain | {"racing": {"neighbours": 20}}
        chosen.as_begun(plain | {"racing": {"neighbours": 7}})
        assert chosen.settings == plain | {"racing": {"neighbours": 7}}
        chosen.as_begun(plain)
        assert chosen.settings == plain
        assert not chosen.train.measure_epochs
        raced = self.make(tmp_path)
        raced.as_begun(plain)
        assert "racing" in raced.settings

    def test_one_run_on_several_data_sets_cannot_race(self, tmp_path):
        def plan(formula):
            return self.plan(formula, ("digits", "digits_turned"))[:2]

        journal = Journal(tmp_path / "trials.jsonl")
        assert TrialFitness(plan, journal, racing=None).racing is None
        with pytest.raises(UserError, match="it looks after each run, and there is one"):
            TrialFitness(plan, journal, racing=True)


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
