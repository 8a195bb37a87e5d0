"""The base class of strategies: one of your own runs and resumes without a change to the loop."""

from dataclasses import dataclass
from functools import partial

import pytest
from search_tools import by_hash, interrupt_and_resume, lines

from nglkeras import UserError
from nglkeras.search import Individual, Strategy, Variation, search
from nglkeras.search.coefficients import SCREENING
from nglkeras.search.strategy import generator


@dataclass(frozen=True)
class RandomParameters:
    generations: int = 3
    population_size: int = 4


class RandomSearch(Strategy):
    """Draws every tree at random and keeps the best."""

    parameters_class = RandomParameters

    def propose(self):
        for i in range(self.parameters.population_size):
            random = generator(self.seed, self.generation, i)
            tree = Variation().random_tree(random)
            yield Individual(tree, self.generation, i, made_by=("random",))


class TestRandomSearch:
    def test_keeps_the_best(self, tmp_path):
        result = search(RandomSearch(0), by_hash, out=tmp_path, screening=SCREENING, quiet=True)
        ranks = [record.evaluation.rank for record in result.records.values()]
        assert [generation.asked for generation in result.generations] == [4, 8, 12, 16]
        assert [m.evaluation.rank for m in result.population] == sorted(ranks, reverse=True)[:4]

    @pytest.mark.parametrize("stop", [1, 6, 9])
    def test_interrupted_and_resumed_is_the_same(self, tmp_path, stop):
        def evaluate(expression):
            return float(expression.size)

        make = partial(RandomSearch, 1)
        calls = interrupt_and_resume(make, evaluate, tmp_path, stop, screening=SCREENING)
        # Only the interrupted evaluation was made twice.
        assert len(calls) == 16 + 1
        longer = RandomSearch(1, generations=4)
        search(longer, evaluate, out=tmp_path / "a", screening=SCREENING, quiet=True)
        assert {row["generation"] for row in lines(tmp_path / "a")[1:]} == {0, 1, 2, 3, 4}

    def test_settings_are_its_parameters_but_for_its_length(self):
        settings = {"strategy": "RandomSearch", "seed": 7, "population_size": 4}
        assert RandomSearch(7, generations=9).settings == settings

    def test_mistakes(self, tmp_path):
        with pytest.raises(UserError, match="unknown parameter 'size'; choose from: generations"):
            RandomSearch(size=3)
        with pytest.raises(UserError, match="strategy is of type function; derive it from"):
            search(by_hash, by_hash, out=tmp_path)


def test_a_strategy_says_what_it_lacks(tmp_path):
    class Silent(RandomSearch):
        def propose(self):
            return ()

    class Early(RandomSearch):
        def propose(self):
            return [Individual(one.expression, 0, one.index) for one in super().propose()]

    class Equal(RandomSearch):
        def propose(self):
            return [Individual(one.expression, one.generation, 0) for one in super().propose()]

    class Bare(Strategy):
        propose = RandomSearch.propose

    with pytest.raises(UserError, match=r"Early\.propose gives an individual of generation 0 in"):
        search(Early(0), by_hash, out=tmp_path / "early", quiet=True)
    with pytest.raises(UserError, match=r"Equal\.propose gives two individuals of generation 0"):
        search(Equal(0), by_hash, out=tmp_path / "equal", quiet=True)
    with pytest.raises(UserError, match="generation 0 of the strategy has no individual"):
        search(Silent(0), by_hash, out=tmp_path, quiet=True)
    with pytest.raises(UserError, match="Bare needs a dataclass as its parameters_class"):
        Bare(0)
