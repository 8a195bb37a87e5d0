"""Algorithm 1 of paper A."""

import random as dice
from functools import partial

import numpy as np
import pytest
from search_tools import TINY, by_hash, lines, run

from nglkeras import UserError
from nglkeras.search import Evaluation, GeneticProgramming, search
from nglkeras.search.evolution import MAX_ATTEMPTS


class TestGeneticProgramming:
    def test_the_papers_parameters_are_the_defaults(self):
        parameters = GeneticProgramming().parameters
        assert (parameters.population_size, parameters.generations) == (16, 100)
        assert (parameters.subtree_mutation, parameters.node_mutation) == (0.3, 0.1)
        assert (parameters.crossover, parameters.archive, parameters.archive_crossover) == (
            0.7,
            0.5,
            0.5,
        )

    def test_the_best_of_parents_and_children_survive(self):
        strategy = GeneticProgramming(0, distinct=False, **TINY)
        best, seen = [], {}
        while not strategy.is_done:
            parents = [m.evaluation.rank for m in strategy.population]
            children = []
            for individual in strategy.ask():
                outcome = by_hash(individual.expression)
                children.append(outcome.rank)
                seen[individual.id] = individual
                strategy.tell(individual, outcome)
            survivors = [m.evaluation.rank for m in strategy.population]
            assert survivors == sorted(parents + children, reverse=True)[:6]
            assert len(strategy.archive) <= 6
            best.append(survivors[0])
        assert best == sorted(best)
        assert len(best) == 5
        for individual in seen.values():
            assert all(parent in seen for parent in individual.parents)
            assert len(individual.parents) == (
                0
                if individual.made_by == ("random",)
                else 1 + individual.made_by.count("crossover")
            )

    def test_rates(self):
        strategy = GeneticProgramming(1, population_size=40, generations=25)
        made = [i.made_by for i in run(strategy) if i.generation]
        for name, rate in (("crossover", 0.7), ("subtree_mutation", 0.3), ("node_mutation", 0.1)):
            share = np.mean([name in m for m in made])
            assert share == pytest.approx(rate, abs=0.05)

    def test_partners_come_from_the_archive_about_half_of_the_time(self):
        strategy = GeneticProgramming(2, population_size=30, generations=30)
        archived = others = 0
        while not strategy.is_done:
            alive = {m.individual.id for m in strategy.population}
            for individual in strategy.ask():
                if "crossover" in individual.made_by:
                    archived += individual.parents[1] not in alive
                    others += individual.parents[1] in alive
                strategy.tell(individual, by_hash(individual.expression))
        assert archived / (archived + others) == pytest.approx(0.5, abs=0.06)

    def test_the_seed_decides_everything_and_the_order_nothing(self):
        def shuffled(individuals):
            return dice.Random(len(individuals)).sample(individuals, len(individuals))

        first = run(GeneticProgramming(3, **TINY))
        again = run(GeneticProgramming(3, **TINY), order=shuffled)
        assert sorted(i.id for i in first) == sorted(i.id for i in again)
        assert {i.id: i for i in first} == {i.id: i for i in again}
        assert first != run(GeneticProgramming(4, **TINY))

    def test_a_discarded_one_is_made_anew(self):
        strategy = GeneticProgramming(0, **TINY)
        individual = strategy.ask()[2]
        strategy.tell(individual, Evaluation("discarded"))
        another = strategy.ask()[2]
        assert (another.index, another.attempt) == (2, 1)
        assert another.expression != individual.expression
        assert another.id == "0-2-1"

    def test_if_everything_is_discarded_it_ends_all_the_same(self):
        strategy = GeneticProgramming(0, population_size=1, generations=1)
        history = run(strategy, lambda expression: Evaluation("discarded"))
        assert len(history) == 2 * (MAX_ATTEMPTS + 1)
        assert strategy.population[0].evaluation.rank == ()

    def test_distinct_survivors(self):
        plain = GeneticProgramming(5, population_size=8, generations=30, distinct=False)
        run(plain)
        distinct = GeneticProgramming(5, population_size=8, generations=30)
        run(distinct)
        formulas = [m.individual.expression for m in distinct.population]
        assert len(set(formulas)) == 8
        assert len({m.individual.expression for m in plain.population}) < 8

    @pytest.mark.parametrize("parsimony", [True, False])
    def test_of_equals_the_smaller_survives_and_in_the_paper_the_older(self, parsimony):
        def evaluate(expression):
            # Larger ones are better by a rounding error.
            noise = 1e-10 * expression.size if parsimony else 0.0
            return Evaluation("ok", (float("log" in expression.nodes) + noise,))

        strategy = GeneticProgramming(0, parsimony=parsimony, population_size=8, generations=3)
        told = run(strategy, evaluate)
        best = [i for i in told if "log" in i.expression.nodes]
        assert len(best) > 8
        assert strategy.population[0].evaluation.level == (1.0,)
        if parsimony:
            sizes = [m.individual.expression.size for m in strategy.population]
            assert sizes == sorted(sizes)
            assert sizes[0] == min(i.expression.size for i in best)
        else:
            assert strategy.population[0].individual == best[0]

    @pytest.mark.parametrize("rule", ["distinct", "parsimony"])
    def test_a_search_begun_without_a_rule_goes_on_without_it(self, tmp_path, rule):
        make = partial(GeneticProgramming, 0, **TINY)
        begun = search(make(**{rule: False}), by_hash, out=tmp_path / "a", quiet=True)
        assert rule not in lines(tmp_path / "a")[0]["settings"]
        again = search(make(), by_hash, out=tmp_path / "a", quiet=True)
        assert again.population == begun.population
        with pytest.raises(UserError, match=rf"other settings \({rule} None, not True\)"):
            search(make(**{rule: True}), by_hash, out=tmp_path / "a", quiet=True)
        search(make(), by_hash, out=tmp_path / "b", quiet=True)
        assert lines(tmp_path / "b")[0]["settings"][rule] is True

    def test_an_answer_that_nobody_asked_for(self):
        strategy = GeneticProgramming(0, **TINY)
        individual = strategy.ask()[0]
        strategy.tell(individual, Evaluation("ok", (1.0,)))
        with pytest.raises(UserError, match="individual 0-0 is not one of those that wait"):
            strategy.tell(individual, Evaluation("ok", (1.0,)))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"crossover": 1.5}, "crossover=1.5 is not a probability"),
            ({"population_size": 0}, "population_size=0 is not a whole number of at least 1"),
            ({"generations": 2.0}, "generations=2.0 is not a whole number"),
            ({"parsimony": 2}, "parsimony=2 is neither True, False nor None"),
            ({"archive": -1}, "archive=-1 is not a probability"),
            ({"size": 3}, "unknown parameter 'size'; choose from: population_size"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message):
            GeneticProgramming(**settings)
