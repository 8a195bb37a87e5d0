"""The Pareto front of fitness and size."""

import pytest
from search_tools import TINY, by_hash

from nglkeras.expression import Expression
from nglkeras.search import Evaluation, GeneticProgramming, Individual, Member, search
from nglkeras.search.front import pareto_front

SIZES = {1: "y_pred", 2: "-y_pred", 3: "y_true*y_pred", 5: "y_true - y_pred*2"}


def members(*pairs):
    """Members with these sizes and fitnesses."""
    return [
        Member(
            Individual(Expression.parse(SIZES[size]), 0, index),
            Evaluation() if fitness is None else Evaluation("ok", fitness),
        )
        for index, (size, fitness) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("pairs", "front"),
    [
        ([(5, (0.9,)), (3, (0.8,)), (1, (0.1,))], [2, 1, 0]),
        # Larger and no better.
        ([(1, (0.5,)), (3, (0.5,)), (5, (0.4,))], [0]),
        # Of equals the older, of the same size the better.
        ([(3, (0.5,)), (3, (0.5,)), (3, (0.6,))], [2]),
        ([(3, (0.5,)), (3, (0.5,))], [0]),
        # What differs in the last digit of float32 is equal.
        ([(1, (0.629999995,)), (3, (0.630000055,))], [0]),
        # Numbers are compared one after the other.
        ([(1, (1.0, 9.0)), (3, (2.0, -1.0)), (5, (2.0, -2.0))], [0, 1]),
        ([(1, None), (2, (0.2,))], [1]),
        ([(1, None), (2, (float("nan"),))], []),
    ],
)
def test_fitness_up_nodes_down(pairs, front):
    found = members(*pairs)
    assert pareto_front(found) == [found[index] for index in front]


def test_is_that_of_the_whole_search_and_is_printed(tmp_path, capsys):
    strategy = GeneticProgramming(0, distinct=False, parsimony=False, **TINY)
    result = search(strategy, by_hash, out=tmp_path)
    rated = [r for r in result.records.values() if r.evaluation.rank]
    for member in result.front:
        size, rank = member.individual.expression.size, member.evaluation.rank
        assert not [
            r
            for r in rated
            if r.evaluation.rank >= rank
            and r.individual.expression.size <= size
            and (r.evaluation.rank, r.individual.expression.size) != (rank, size)
        ]
    assert result.front[-1].evaluation.rank == result.population[0].evaluation.rank
    # Some of it did not survive.
    survivors = {member.individual.id for member in result.population}
    assert not {member.individual.id for member in result.front} <= survivors
    *_, last = capsys.readouterr().out.split("the front of fitness and size")
    assert len(last.splitlines()) == 1 + len(result.front)
    assert all(str(member.simplified) in last for member in result.front)
