"""The best learning rate of a loss: rates half a decade apart, and more while it is at an edge."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Runs from here on are the new seeds; those that choose a rate count from 0.
FIRST_NEW = 1_000
# How many rates are added at each end, at most, while the best one lies there.
MAX_ADDED = 6
ENDS = ("low", "high")
# Statuses of networks that left the finite numbers.
DIVERGED = ("non_finite", "exploded")


def next_rate(rate: float, up: bool) -> float:
    """Return the rate half a decade above or below; two digits, so that 0.01, 0.032, 0.1 recur."""
    return float(f"{rate * 10 ** (0.5 if up else -0.5):.2g}")


def rates_around(rate: float, count: int) -> tuple[float, ...]:
    """Rates half a decade apart with this one in their middle, the least first."""
    rates = [rate]
    while len(rates) < count:
        up = len(rates) % 2 == 1
        rates.insert(len(rates) if up else 0, next_rate(rates[-1 if up else 0], up))
    return tuple(rates)


@dataclass(frozen=True)
class RateCurve:
    """Validation of one loss over the learning rates; more is better.

    Attributes:
        rates: All rates that were planned, the least first.
        chance: Accuracy of a guess, in [0, 1]; `None` where it is not known.
        accuracies: Mean validation accuracy in [0, 1] of the networks that count, by rate; a
            diverged one counts as chance. Rates without any such network are left out.
        diverged: Rates at which a network left the finite numbers.
    """

    rates: tuple[float, ...]
    chance: float | None = None
    accuracies: Mapping[float, float] = field(default_factory=dict)
    diverged: frozenset[float] = frozenset()

    @property
    def best(self) -> float | None:
        """The rate with the highest accuracy; of equals the least. `None` without a network."""
        # Of the same number of hits the last digit in float32 may differ.
        rounded = {rate: round(accuracy, 6) for rate, accuracy in self.accuracies.items()}
        return max(rounded, key=rounded.get, default=None)

    @property
    def has_learnt(self) -> bool:
        """Whether the loss has learnt something at its best rate.

        It is then twice as good as chance or, where classes are few, a quarter of the way from
        chance to no errors.
        """
        if self.best is None or self.chance is None:
            return self.best is not None
        return self.accuracies[self.best] >= self.chance + min(self.chance, (1 - self.chance) / 4)

    @property
    def edges(self) -> tuple[str, ...]:
        """The ends of the rates, "low" and "high", where the best one lies."""
        rates = list(self.accuracies)
        ends = zip(ENDS, (rates[:1], rates[-1:]), strict=True)
        return tuple(end for end, rate in ends if rate == [self.best])

    @property
    def open_ends(self) -> tuple[str, ...]:
        """The ends beyond which a better rate may lie.

        Those are the edges, or both ends where no rate has learnt anything: the best of such rates
        is best by chance.
        """
        return ENDS if self.accuracies and not self.has_learnt else self.edges

    def wanted(self, begun: Sequence[float], most: int = MAX_ADDED) -> list[float]:
        """Return the rates beyond the open ends that are to be tried next, if there are any.

        Args:
            begun: The rates that every loss begins with.
            most: How many rates are added at each end, at most.
        """
        added = {
            "low": sum(rate < min(begun) for rate in self.rates),
            "high": sum(rate > max(begun) for rate in self.rates),
        }
        last = {"low": self.rates[0], "high": self.rates[-1]}
        ends = [end for end in self.open_ends if added[end] < most]
        return [next_rate(last[end], up=end == "high") for end in ends]


def curve_of(
    outcomes: Mapping[float, Iterable[tuple[str, float | None]]], chance: float | None
) -> RateCurve:
    """Return the curve of a loss from what its networks have reached.

    Args:
        outcomes: Status and validation accuracy of each network, by rate. A network that was lost,
            such as a crashed one, does not count.
        chance: As in `RateCurve`; without it a diverged network counts as the worst other one.
    """
    outcomes = {rate: list(outcomes[rate]) for rate in sorted(outcomes)}
    finished = [value for rows in outcomes.values() for status, value in rows if status == "ok"]
    worst = min(finished, default=None) if chance is None else chance
    accuracies, diverged = {}, set()
    for rate, rows in outcomes.items():
        bad = sum(status in DIVERGED for status, _ in rows)
        values = [value for status, value in rows if status == "ok"]
        values += [worst] * bad if worst is not None else []
        if values:
            accuracies[rate] = sum(values) / len(values)
        if bad:
            diverged.add(rate)
    return RateCurve(tuple(outcomes), chance, accuracies, frozenset(diverged))
