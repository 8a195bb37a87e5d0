"""The genetic algorithm of paper B."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from search_tools import by_hash, interrupt_and_resume, run

from nglkeras import UserError
from nglkeras.expression import OPERATORS, PAPER_B, Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import CoefficientSearch, Evaluation, glo, search
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
    return outcome if outcome.rank else 0.1


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

    def test_where_all_are_below_none_they_are_picked_by_their_distance_from_the_worst(self):
        strategy = GLO(0, population_size=60, elites=0, recombination=0.0, mutation=0.0)
        chosen = strategy.ask()[17]
        for individual in strategy.ask():
            value = -0.1 if individual == chosen else -9.0
            crashed = individual.index % 2 == 0
            evaluation = Evaluation("crashed") if crashed else Evaluation("ok", (value,))
            strategy.tell(individual, evaluation)
        assert {i.parents for i in strategy.ask()} == {(chosen.id,)}

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
        make = partial(GLO, 1, population_size=30, generations=6)
        interrupt_and_resume(make, steady, tmp_path, stop, screening=glo.PAPER)

    def test_no_tree_outgrows_the_limit(self):
        history = run(
            GLO(0, population_size=10, elites=1, generations=20, max_size=9, mutation=0.4),
            lambda e: Evaluation("ok", (e.size / 10,)),
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
