"""The Pareto front of a search: the best fitness that it found at each size of a formula."""

from collections.abc import Iterable

from nglkeras.search.strategy import Member


def pareto_front(members: Iterable[Member]) -> list[Member]:
    """Return the members that no other one beats in fitness without more nodes.

    Members without a fitness are left out. Fitnesses are compared by `Evaluation.level`, so that
    rounding errors earn no nodes. Of several with the same fitness and size, and so of
    several with the same formula, only the first is kept. A loss that shares the evaluation of
    another one belongs to the members too: it may be the smaller form of the same function.

    Args:
        members: In the order of the search.

    Returns:
        The front from the smallest to the largest formula; the fitness rises with the size.
    """
    rated = [member for member in members if member.evaluation.rank]
    # Both sorts are stable: of equals, the first stays the first.
    rated.sort(key=lambda member: member.evaluation.level, reverse=True)
    rated.sort(key=lambda member: member.individual.expression.size)
    front: list[Member] = []
    for member in rated:
        if not front or member.evaluation.level > front[-1].evaluation.level:
            front.append(member)
    return front
