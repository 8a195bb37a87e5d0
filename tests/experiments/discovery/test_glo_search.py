"""Paper B's search: its genetic algorithm, its coefficients, and its script."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from test_search import by_hash, lines, run

import nglkeras
from nglkeras import UserError
from nglkeras.experiments.discovery import TrialFitness
from nglkeras.experiments.glo import protocol
from nglkeras.expression import OPERATORS, PAPER_B, Expression
from nglkeras.losses import FORMULAS
from nglkeras.losses.interpreted import assemble
from nglkeras.runs.journal import Journal
from nglkeras.search import CoefficientSearch, Evaluation, glo, search
from nglkeras.search.coefficients import SCREENING, count_coefficients, in_print, with_coefficients
from nglkeras.search.glo import GLO, mutate, random_tree, splice

BAIKAL = Expression.parse(FORMULAS["Baikal"])
T, P = np.eye(4), np.random.default_rng(0).dirichlet(np.ones(4), 4)


def random(seed=0):
    return np.random.RandomState(seed)


def whole(tree):
    return Expression(tuple(tree))


class TestTrees:
    def test_random_ones_are_of_paper_b_and_no_deeper_than_asked(self):
        trees = [random_tree(random(seed), 2) for seed in range(300)]
        nodes = Counter(node for tree in trees for node in tree)
        assert nodes.keys() == {*PAPER_B, *glo.LEAVES}
        assert max(whole(tree).height for tree in trees) == 2
        # log, x and y are three times as likely as the other elements of their kind.
        assert 2 < nodes["y_pred"] / nodes[1.0] < 4.5

    def test_splicing_exchanges_subtrees(self):
        first, second = ("add", "log", "y_pred", "y_true"), ("sqrt", "mul", 1.0, "y_pred")
        changed = 0
        for seed in range(50):
            made = splice(first, second, random(seed))
            # Nothing is lost and nothing is added, and both are whole trees.
            assert Counter(made[0] + made[1]) == Counter(first + second)
            assert all(whole(tree) for tree in made)
            changed += made != (first, second)
        assert changed > 40

    def test_mutation_at_rate_0_and_1(self):
        tree = ("sub", "log", "y_pred", "div", "y_true", 1.0)
        assert mutate(tree, random(), 0.0) == tree
        for seed in range(50):
            assert whole(mutate(tree, random(seed), 1.0)).nodes

    def test_every_kind_of_mutation_happens(self):
        tree = ("sub", "log", "y_pred", "div", "y_true", 1.0)
        mutants = [mutate(tree, random(seed), 0.2) for seed in range(400)]
        assert any(2.0 in mutant or 0.0 in mutant for mutant in mutants)
        assert any(len(mutant) < len(tree) for mutant in mutants)
        assert any(len(mutant) > len(tree) for mutant in mutants)
        # Another operator of the same arity in the same place.
        assert any(
            len(m) == len(tree) and m[0] != "sub" and OPERATORS[m[0]].arity == 2 for m in mutants
        )


def steady(expression):
    """`by_hash` without its crashes, which a resumed search tries again."""
    outcome = by_hash(expression)
    return 0.1 if isinstance(outcome, Evaluation) else outcome


class TestGLO:
    def test_settings_of_the_supplement_are_the_defaults(self):
        parameters = GLO().parameters
        assert (parameters.population_size, parameters.elites) == (80, 6)
        assert (parameters.recombination, parameters.mutation, parameters.depth) == (0.8, 0.05, 2)

    def test_a_loss_is_the_tree_with_a_minus_sign(self):
        assert all(i.expression.nodes[0] == "neg" for i in GLO(population_size=20).ask())

    def test_elites_go_on_and_are_not_evaluated_again(self):
        strategy = GLO(3, population_size=12, elites=3, generations=2)
        first = strategy.ask()
        assert len(first) == 12
        for individual in first:
            strategy.tell(individual, Evaluation("ok", (by_number(individual),)))
        best = strategy.population[:3]
        assert len(strategy.ask()) == 9
        for individual in strategy.ask():
            strategy.tell(individual, Evaluation("non_finite"))
        assert strategy.population[:3] == best
        assert len(strategy.population) == 12

    def test_parents_are_picked_by_their_fitness(self):
        strategy = GLO(0, population_size=60, elites=0, recombination=0.0, mutation=0.0)
        chosen = strategy.ask()[17]
        for individual in strategy.ask():
            # Whatever has no fitness, or less than none, has no place in the roulette.
            evaluation = (
                Evaluation("crashed") if individual.index % 2 else Evaluation("ok", (-1.0,))
            )
            if individual == chosen:
                evaluation = Evaluation("ok", (0.3,))
            strategy.tell(individual, evaluation)
        assert {i.parents for i in strategy.ask()} == {(chosen.id,)}
        assert {str(i.expression) for i in strategy.ask()} == {str(chosen.expression)}

    def test_without_any_fitness_it_goes_on(self):
        history = run(
            GLO(0, population_size=6, elites=1, generations=3), lambda e: Evaluation("crashed")
        )
        assert len(history) == 6 + 3 * 5

    def test_same_seed_same_search_in_any_order(self):
        first = run(GLO(5, population_size=10, elites=2, generations=4))
        other = run(GLO(5, population_size=10, elites=2, generations=4), order=reversed)
        assert {i.id: i for i in first} == {i.id: i for i in other}
        assert run(GLO(6, population_size=10, elites=2, generations=4)) != first

    @pytest.mark.parametrize("stop", [3, 20, 31])
    def test_interrupted_and_resumed_is_the_same(self, tmp_path, stop):
        arguments = {"screening": glo.PAPER, "quiet": True}
        parameters = {"population_size": 30, "generations": 6}
        search(GLO(1, **parameters), steady, out=tmp_path / "a", **arguments)
        calls = []

        def interrupted(expression):
            calls.append(expression)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return steady(expression)

        with pytest.raises(KeyboardInterrupt):
            search(GLO(1, **parameters), interrupted, out=tmp_path / "b", **arguments)
        search(GLO(1, **parameters), interrupted, out=tmp_path / "b", **arguments)
        assert lines(tmp_path / "a")[1:] == lines(tmp_path / "b")[1:]

    def test_no_tree_outgrows_the_limit(self):
        history = run(
            GLO(0, population_size=10, elites=1, generations=20, max_size=9, mutation=0.4),
            lambda e: e.size / 10,
        )
        assert max(i.expression.size for i in history) <= 10

    def test_trees_without_both_leaves_have_fitness_0_and_no_training(self, tmp_path):
        trained = []

        def evaluate(expression):
            trained.append(expression)
            return 0.5

        strategy = GLO(1, population_size=30, generations=2)
        result = search(strategy, evaluate, out=tmp_path, screening=glo.PAPER, quiet=True)
        assert trained
        assert all(expression.has_both_terminals for expression in trained)
        # Cached: no formula is trained twice.
        assert len(set(map(str, trained))) == len(trained)
        poor = [m for m in strategy.population if not m.individual.expression.has_both_terminals]
        assert all(glo.fitness(member) == 0 for member in poor)
        assert result.generations[-1].saved["rejected"] > 0

    def test_comes_closer_to_a_target(self, tmp_path):
        def evaluate(expression):
            with np.errstate(all="ignore"):
                error = np.abs(expression(T, P) - BAIKAL(T, P)).mean()
            return 1 / (1 + error) if np.isfinite(error) else Evaluation("non_finite")

        strategy = GLO(0, generations=10)
        result = search(strategy, evaluate, out=tmp_path, screening=glo.PAPER, quiet=True)
        assert result.generations[-1].best > result.generations[0].best

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"population_size": 5, "elites": 5}, "5 elites in a population of 5"),
            ({"mutation": 2}, "mutation=2 is not a probability"),
            ({"generations": -1}, "generations=-1"),
            ({"max_size": 41}, "max_size=41 is not a size from 1 to 40"),
        ],
    )
    def test_mistakes(self, parameters, message):
        with pytest.raises(UserError, match=message):
            GLO(**parameters)

    def test_an_individual_that_nobody_asked_for(self):
        for strategy in (GLO(population_size=7), CoefficientSearch(BAIKAL)):
            stranger = replace(strategy.ask()[0], index=99)
            with pytest.raises(UserError, match="is not one of those that wait"):
                strategy.tell(stranger, Evaluation())


def by_number(individual):
    return (individual.index + 1) / 100


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
    return -float(np.square(np.subtract(found, OPTIMUM)).sum())


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
            return 1000 + quadratic(expression)

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
        arguments = {"screening": SCREENING, "quiet": True}
        whole_search = search(
            CoefficientSearch(BAIKAL, 4, generations=5), quadratic, out=tmp_path / "a", **arguments
        )
        calls = []

        def interrupted(expression):
            calls.append(expression)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return quadratic(expression)

        with pytest.raises(KeyboardInterrupt):
            search(
                CoefficientSearch(BAIKAL, 4, generations=5),
                interrupted,
                out=tmp_path / "b",
                **arguments,
            )
        again = CoefficientSearch(BAIKAL, 4, generations=5)
        resumed = search(again, interrupted, out=tmp_path / "b", **arguments)
        assert lines(tmp_path / "a")[1:] == lines(tmp_path / "b")[1:]
        assert resumed.best == whole_search.best

    def test_another_tree_in_the_same_folder_is_refused(self, tmp_path):
        search(CoefficientSearch(BAIKAL, generations=1), quadratic, out=tmp_path, quiet=True)
        other = CoefficientSearch(Expression.parse("-(y_true*log(y_pred))"), generations=1)
        with pytest.raises(UserError, match=r"other settings \(expression"):
            search(other, quadratic, out=tmp_path, quiet=True)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"generations": -1}, "generations=-1"),
            ({"population_size": 1}, "CMA-ES takes at least 2"),
            ({"sigma": 0.0}, "sigma=0.0 is not a positive number"),
        ],
    )
    def test_mistakes(self, parameters, message):
        with pytest.raises(UserError, match=message):
            CoefficientSearch(BAIKAL, **parameters)


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

    def test_a_loss_that_leaves_the_numbers_has_no_fitness(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = TrialFitness(lambda formula: protocol.candidate(TINY, formula), journal)
        huge = Expression.parse("-1e8*square(square(1e8*(y_true/(y_pred*y_pred))))")
        outcome = evaluate(huge)
        assert (outcome.status, outcome.rank) == ("non_finite", ())


class TestScript:
    @pytest.mark.slow
    def test_two_stages_and_again_from_the_journals(self, script, tmp_path):
        options = (
            *("--steps", 8, "--population", 40, "--generations", 1, "--coefficient-generations", 1),
            *("--compare-runs", 1, "--train-images", 200, "--out", tmp_path),
        )
        code, out, err = script("glo_search", *options)
        assert code == 0, err
        assert "Digits, BaikalCMA:" in out
        folder = tmp_path / "search"
        (coefficients,) = folder.glob("coefficients_*")
        stages = ("trees", coefficients.name)
        first = {stage: lines(folder / stage) for stage in stages}
        trials = (folder / "trials.jsonl").read_text()
        for stage in first:
            content = json.loads((folder / stage / "best.json").read_text())
            assert content["class_reduction"] == "sum"
            assert nglkeras.load_loss(folder / stage / "best.json").class_reduction == "sum"
            assert imread(folder / stage / "convergence.png").std() > 0.02
            assert "Winner" in (folder / stage / "best.md").read_text()
        assert not (folder / "trees" / "comparison.csv").exists()
        comparison = (coefficients / "comparison.csv").read_text()
        assert {line.split(",")[1] for line in comparison.splitlines()[1:]} == {
            "winner",
            "tree",
            "CE",
            "Baikal",
            "BaikalCMA",
        }
        code, _, _ = script("glo_search", *options)
        assert code == 0
        assert {stage: lines(folder / stage) for stage in first} == first
        assert (folder / "trials.jsonl").read_text() == trials
