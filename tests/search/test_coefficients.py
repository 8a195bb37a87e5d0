"""CMA-ES over the coefficients of a tree."""

from functools import partial

import numpy as np
import pytest
from search_tools import interrupt_and_resume, run

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.losses.interpreted import assemble
from nglkeras.search import CoefficientSearch, Evaluation, glo, search
from nglkeras.search.coefficients import SCREENING, count_coefficients, in_print, with_coefficients

BAIKAL = Expression.parse(FORMULAS["Baikal"])


T, P = np.eye(4), np.random.default_rng(0).dirichlet(np.ones(4), 4)


class TestCoefficients:
    def test_ones_change_nothing(self):
        assert count_coefficients(BAIKAL) == 6
        same = with_coefficients(BAIKAL, np.ones(6))
        np.testing.assert_array_equal(same(T, P), BAIKAL(T, P))

    def test_baikal_becomes_baikalcma(self):
        cma = with_coefficients(BAIKAL, (2.7279, 0.9863, 1.5352, 1.8158, 1.0, 1.0))
        np.testing.assert_allclose(
            cma(T, P), Expression.parse(FORMULAS["BaikalCMA"])(T, P), rtol=1e-12
        )
        printed = in_print(cma)
        assert str(printed) == "-2.7279*(0.9863*log(1.5352*y_pred) - 1.8158*(y_true/y_pred))"

    @pytest.mark.parametrize(
        "formula",
        [
            "-(log(y_pred) - y_true/y_pred)",
            "-(sqrt(y_true*y_pred)/square(y_pred + 1))",
            "-(1/y_pred - square(square(y_true - y_pred)))",
            "-(sqrt(log(y_pred)*y_true) + -1*(y_pred/-1))",
        ],
    )
    def test_in_print_says_the_same(self, formula):
        tree = Expression.parse(formula)
        values = np.random.default_rng(1).normal(1, 1.5, count_coefficients(tree))
        exact = with_coefficients(tree, values)
        printed = in_print(exact)
        # Four decimals are left of each coefficient, and as few of them as can be.
        np.testing.assert_allclose(printed(T, P), exact(T, P), rtol=2e-2, atol=2e-3)
        assert printed.size < exact.size
        assert all(n == round(n, 4) for n in printed.nodes if isinstance(n, float))

    def test_in_print_keeps_a_factor_inside_that_would_be_too_large(self):
        inner = Expression.parse("square(square(400*y_true/y_pred))")
        printed = in_print(Expression.parse(f"-(300*{inner})"))
        np.testing.assert_allclose(printed(T, P), -300 * inner(T, P), rtol=1e-3)
        assert max(abs(n) for n in printed.nodes if isinstance(n, float)) <= 1e8

    @pytest.mark.parametrize("chain", [True, False])
    def test_the_interpreter_takes_the_greatest_tree_with_coefficients(self, chain):
        leaves, unary = ("y_pred", "y_true") * 10, ("sqrt",) * (glo.MAX_SIZE - 1)
        nodes = (*unary, "y_pred") if chain else ("log", *("div",) * 19, *leaves[:20])
        assert len(nodes) == glo.MAX_SIZE
        tree = Expression(("neg", *nodes))
        assemble(with_coefficients(tree, np.arange(1, 41) / 7))

    def test_a_small_factor_in_print_is_not_lost(self):
        tree = Expression.parse("-(y_true*log(0.00001234*y_pred))")
        np.testing.assert_allclose(in_print(tree)(T, P), tree(T, P), rtol=1e-3)

    def test_a_number_of_coefficients_that_does_not_fit(self):
        with pytest.raises(UserError, match="2 coefficients for 6 nodes"):
            with_coefficients(BAIKAL, (1.0, 2.0))


OPTIMUM = np.array([2.7279, 0.9863, 1.5352, 1.8158, 0.5, 2.0])


def quadratic(expression):
    found = [node for node in expression.nodes if isinstance(node, float)] or np.ones(6)
    return Evaluation("ok", (-float(np.square(np.subtract(found, OPTIMUM)).sum()),))


class TestCoefficientSearch:
    def test_converges_to_a_known_optimum(self):
        strategy = CoefficientSearch(BAIKAL, generations=150)
        run(strategy, quadratic)
        np.testing.assert_allclose(strategy.mean, OPTIMUM, atol=1e-3)
        assert strategy.population[0].evaluation.fitness[0] > -1e-6

    def test_the_paper_s_strategy(self):
        strategy = CoefficientSearch(BAIKAL)
        inner = strategy._strategy
        assert inner.sigma0 == 1.5
        # (μ/μ_w, λ) with rank-μ update: weights of parents only, half of λ = 4 + 3 log 6 of them.
        assert (inner.sp.weights.lambda_, inner.sp.weights.mu) == (9, 4)
        assert min(inner.sp.weights) >= 0
        assert inner.sp.cmu > 0

    def test_the_tree_itself_comes_first_and_the_best_stays(self):
        strategy = CoefficientSearch(BAIKAL, generations=2)
        (first,) = strategy.ask()
        assert first.expression == BAIKAL
        strategy.tell(first, Evaluation("ok", (9.0,)))
        for _ in range(2):
            for individual in strategy.ask():
                strategy.tell(individual, Evaluation("ok", (1.0,)))
            assert strategy.population[0].individual == first
        assert strategy.is_done

    def test_trainings_that_fail_are_the_worst_of_their_sample(self):
        strategy = CoefficientSearch(BAIKAL, generations=60)

        def evaluate(expression):
            numbers = [node for node in expression.nodes if isinstance(node, float)]
            if numbers and numbers[0] < 0:
                return Evaluation("non_finite")
            (value,) = quadratic(expression).fitness
            return Evaluation("ok", (1000 + value,))

        run(strategy, evaluate)
        np.testing.assert_allclose(strategy.mean, OPTIMUM, atol=0.1)

    def test_all_failing_it_goes_on(self):
        assert (
            len(run(CoefficientSearch(BAIKAL, generations=3), lambda e: Evaluation("crashed"))) > 20
        )

    def test_numpy_s_global_generator_is_neither_read_nor_set(self):
        np.random.seed(1)
        run(CoefficientSearch(BAIKAL, 7, generations=3), quadratic)
        after = np.random.uniform()
        np.random.seed(1)
        assert np.random.uniform() == after

    @pytest.mark.parametrize("stop", [1, 5, 10, 23, 40])
    def test_interrupted_and_resumed_is_the_same(self, tmp_path, stop):
        make = partial(CoefficientSearch, BAIKAL, 4, generations=5)
        interrupt_and_resume(make, quadratic, tmp_path, stop, screening=SCREENING)

    def test_another_tree_in_the_same_folder_is_refused(self, tmp_path):
        search(CoefficientSearch(BAIKAL, generations=1), quadratic, out=tmp_path, quiet=True)
        other = CoefficientSearch(Expression.parse("-(y_true*log(y_pred))"), generations=1)
        with pytest.raises(UserError, match=r"other settings \(expression"):
            search(other, quadratic, out=tmp_path, quiet=True)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"generations": -1}, "generations=-1"),
            ({"population_size": 1}, "population_size=1 is not a whole number of at least 2"),
            ({"sigma": 0.0}, "sigma=0.0 is not a positive number"),
            ({"expression": "y_pred*y_true"}, "'y_pred\\*y_true' is no Expression"),
        ],
    )
    def test_mistakes(self, parameters, message):
        with pytest.raises(UserError, match=message):
            CoefficientSearch(**{"expression": BAIKAL} | parameters)

    def test_coefficients_grow_to_the_greatest_constant_only(self):
        huge = with_coefficients(Expression.parse("y_true + 3"), [1e12, -1e9, 1e9])
        assert huge.nodes == ("mul", 1e8, "add", "mul", -1e8, "y_true", 1e8)
