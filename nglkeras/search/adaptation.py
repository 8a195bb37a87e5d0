"""Success-history adaptation of rates (Tanabe and Fukunaga 2013, SHADE).

Paper A names a "success-history based adaptation" and prints fixed rates. This is the adaptation of
that name: "Success-History Based Parameter Adaptation for Differential Evolution", CEC 2013. A
child draws its rates around an entry of a memory. After a generation, one entry becomes the mean of
the rates whose children are better than their parents, weighted by how much better.

SHADE adapts two numbers of differential evolution: CR, the probability of a crossover, and F, the
size of a mutation. Our reading for genetic programming: the rates of crossover and archive follow
the equations of CR, and the rates of the mutations those of F.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

import numpy as np

# Number of entries, H. The paper has as many as individuals, for thousands of generations; six are
# those of its successor L-SHADE (2014).
ENTRIES = 6
# Standard deviation of the normal distribution, and scale of the Cauchy distribution.
SPREAD = 0.1
# Rates that follow the equations of F.
LIKE_F = ("subtree_mutation", "node_mutation")
# Rounded, the same seed gives the same rates on every machine, and journals stay readable.
DECIMALS = 4


@dataclass(frozen=True)
class Success:
    """Rates that have helped to make something better than its parent.

    Attributes:
        rates: The rates by name.
        gain: Improvement of the fitness, Δf > 0.
    """

    rates: dict[str, float]
    gain: float


class SuccessHistory:
    """The memory of successful rates.

    Args:
        rates: The rates by name, with which all entries begin; in the paper they begin at 0.5.

    Attributes:
        entries: M, the rates of each entry by name.
        next: k, the number of the entry that is replaced next.
    """

    def __init__(self, rates: dict[str, float]):
        self.entries = [dict(rates) for _ in range(ENTRIES)]
        self.next = 0

    def draw(self, random: np.random.RandomState) -> dict[str, float]:
        """Return the rates of a child, drawn around a random entry."""
        entry = self.entries[random.randint(ENTRIES)]  # r_i
        return {
            name: round(
                _cauchy(mean, random) if name in LIKE_F else _normal(mean, random), DECIMALS
            )
            for name, mean in entry.items()
        }

    def learn(self, successes: Iterable[Success]) -> None:
        """Replace the next entry by the means of these rates; without a success it stays."""
        successes = list(successes)
        if not successes:
            return
        entry = self.entries[self.next]
        for name in entry:
            pairs = [(one.rates[name], one.gain) for one in successes if name in one.rates]
            if pairs:
                mean = _lehmer_mean if name in LIKE_F else _arithmetic_mean
                entry[name] = round(mean(*zip(*pairs, strict=True)), DECIMALS)
        self.next = (self.next + 1) % ENTRIES


def _normal(mean, random):
    """CR_i = randn(M_CR, 0.1), cut off at 0 and 1."""
    return float(np.clip(random.normal(mean, SPREAD), 0.0, 1.0))


def _cauchy(location, random):
    """F_i = randc(M_F, 0.1); drawn again if it is not positive, cut off at 1."""
    value = 0.0
    while value <= 0:
        value = location + SPREAD * random.standard_cauchy()
    return float(min(value, 1.0))


def _arithmetic_mean(rates, gains):
    """mean_WA(S) = Σ w S with w = Δf / Σ Δf."""
    return fsum(gain * rate for rate, gain in zip(rates, gains, strict=True)) / fsum(gains)


def _lehmer_mean(rates, gains):
    """mean_WL(S) = Σ w S² / Σ w S, which prefers large rates, since small ones succeed more often.

    It is 0 if all rates are.
    """
    weighted = fsum(gain * rate for rate, gain in zip(rates, gains, strict=True))
    squares = fsum(gain * rate**2 for rate, gain in zip(rates, gains, strict=True))
    return squares / weighted if weighted else 0.0
