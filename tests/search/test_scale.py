"""Losses brought to cross entropy's size."""

import keras
import numpy as np
import pytest
from search_tools import TINY, lines

import nglkeras
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import Evaluation, Fitness, GeneticProgramming, TrainingFitness, search
from nglkeras.search.known import cross_entropy
from nglkeras.search.scale import measure, scaled
from nglkeras.search.screening import logits_gradient
from nglkeras.search.task import Task

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(160, 6)).astype("float32")
LABELS = X[:, :3].argmax(axis=1)
P = RANDOM.dirichlet(np.ones(3), 40)
T = np.eye(3)[RANDOM.integers(0, 3, 40)]
CE = cross_entropy(3)


def model_fn():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])


def fitness(**changes):
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.1, "optimizer": "SGD"} | changes
    return TrainingFitness(
        model_fn, (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160]), **settings
    )


class TestMeasure:
    @pytest.mark.parametrize(
        ("formula", "reduction", "factor"),
        [
            ("-3*(y_true*log(y_pred))", "mean", 1.0),
            ("-(y_true*log(y_pred))", "sum", 1.0),
            ("-(y_true*log(y_pred))", "mean", 3.0),
            ("-60*(y_true*log(y_pred)) + 5*y_pred + 7", "mean", 0.05),
        ],
    )
    def test_cross_entropy_has_its_own_size(self, formula, reduction, factor):
        assert measure(Expression.parse(formula), T, P, reduction).factor == pytest.approx(factor)

    @pytest.mark.parametrize("name", ["NGL", "Baikal", "f2"])
    def test_the_scaled_gradient_has_cross_entropy_s_size(self, name):
        loss = Expression.parse(FORMULAS[name])
        loss = scaled(loss, measure(loss, T, P).factor)
        size = np.linalg.norm(logits_gradient(loss, T, P))
        assert size == pytest.approx(np.linalg.norm(P - T), rel=1e-4)

    def test_the_size_is_that_of_a_training_in_float32(self):
        # There log(1) is 0, and the quotient by it is one by ε.
        hidden, plain = "square(y_pred)*y_true/log(y_true)", "1e8*(square(y_pred)*y_true)"
        factors = [measure(Expression.parse(one), T, P).factor for one in (hidden, plain)]
        assert factors[0] == pytest.approx(factors[1], rel=1e-3)

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_a_sigmoid_has_the_size_of_its_gradient_by_the_logits(self, reduction):
        labels, p = RANDOM.integers(0, 2, (30, 2)), RANDOM.uniform(size=(30, 2))
        loss = Expression.parse(FORMULAS["NGL"])
        factor = measure(loss, *Task((2,), "sigmoid").of_classes(labels, p), reduction).factor

        def value(logits):
            p = 1 / (1 + np.exp(-logits))
            both = loss(labels, p) + loss(1 - labels, 1 - p)
            return both / 2 if reduction == "mean" else both

        logits = np.log(p / (1 - p))
        gradient = (value(logits + 1e-5) - value(logits - 1e-5)) / 2e-5
        wanted = np.linalg.norm(p - labels) / np.linalg.norm(gradient)
        assert factor == pytest.approx(wanted, rel=1e-3)

    @pytest.mark.parametrize(
        ("formula", "problem"),
        [
            ("5*y_pred + sin(y_true)", "has the size "),
            ("y_true*y_pred*0", "has the size 0"),
            ("1e-8*(1e-8*(y_true*y_pred))", "has the size "),
            ("exp(exp(exp(9*y_pred)))*y_true", "is not finite"),
        ],
    )
    def test_without_a_size_there_is_a_reason(self, formula, problem):
        scale = measure(Expression.parse(formula), T, P)
        assert f"its gradient at the untrained network {problem}" in scale.problem


class TestTrainingFitness:
    def test_a_factor_decides_nothing(self):
        fair, plain = fitness(scale_free=True), fitness()
        tenth = Expression(("mul", 0.01, *CE.nodes))
        first, second = fair(CE), fair(tenth)
        assert first.fitness == second.fitness == plain(CE).fitness
        assert plain(tenth).fitness != first.fitness
        factors = [one.details["scale_free_factor"] for one in (first, second)]
        assert factors == [pytest.approx(1), pytest.approx(100)]
        assert fair.gradients == "scaled"

    def test_is_a_setting_only_where_it_is_on(self):
        assert "scale_free" not in fitness().settings
        assert fitness(scale_free=True).settings == fitness().settings | {"scale_free": True}

    def test_what_has_no_size_is_rejected_and_says_why(self):
        evaluate = fitness(scale_free=True)
        flat = Expression.parse("y_true + 0*y_pred")
        assert "untrained network has the size 0" in evaluate.refuse(flat)
        assert evaluate(flat).status == "non_finite"
        assert evaluate.refuse(CE) == ""
        assert fitness().refuse is None

    def test_the_factor_is_part_of_what_is_exported(self, tmp_path):
        strategy = GeneticProgramming(0, population_size=4, generations=1)
        result = search(strategy, fitness(scale_free=True), out=tmp_path, quiet=True)
        best = result.best_losses(1)[0]
        factor = best.evaluation.details["scale_free_factor"]
        assert factor not in (1, None)
        assert best.expression == result.best == scaled(best.individual.expression, factor)
        assert best.size == best.individual.expression.size
        assert nglkeras.load_loss(tmp_path / "best.json").formula == best.formula
        # The journal has what the strategy made.
        assert f'"{best.individual.expression}"' in (tmp_path / "search.jsonl").read_text()


def by_size(expression):
    """A fitness whose factor is that of 64 random samples."""
    factor = measure(expression, T, P).factor
    return Evaluation("ok", (-float(expression.size),), details={"scale_free_factor": factor})


by_size.gradients = "scaled"
by_size.settings = {}


def test_twins_up_to_a_factor_have_factors_of_their_own(tmp_path):
    strategy = GeneticProgramming(0, population_size=12, generations=8)
    result = search(strategy, by_size, out=tmp_path, quiet=True)
    twins = [record for record in result.records.values() if record.why == "gradient"]
    assert len(twins) > 2
    by_id = {loss.id: loss for loss in map(result._loss, twins)}
    for record in twins:
        wanted = measure(record.individual.expression, T, P).factor
        assert by_id[record.individual.id].factor == pytest.approx(wanted, rel=1e-3)


class Even(Fitness):
    """Refuses formulas of an odd size; stops at the third training."""

    settings = {}  # noqa: RUF012 - as a subclass of a user may write it
    calls = 0

    def __call__(self, expression):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return -float(expression.size)

    def refuse(self, expression):
        return "an odd one" if expression.size % 2 else ""


def test_a_refused_loss_is_rejected_and_the_search_resumes(tmp_path):
    evaluate = Even()
    with pytest.raises(KeyboardInterrupt):
        search(GeneticProgramming(0, **TINY), evaluate, out=tmp_path / "a", quiet=True)
    for name in ("a", "b"):
        search(GeneticProgramming(0, **TINY), evaluate, out=tmp_path / name, quiet=True)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    refused = [row for row in lines(tmp_path / "b") if row.get("message") == "an odd one"]
    assert {row["status"] for row in refused} == {"rejected"}
    assert len(refused) > 3
