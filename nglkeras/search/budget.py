"""How many networks a confirmation trains, and what a time budget cuts of them."""

from dataclasses import dataclass, replace

from nglkeras.runs.live_status import duration

# A time budget leaves each loss this many new runs: fewer settle nothing.
LEAST_RUNS = 5


@dataclass(frozen=True)
class Plan:
    """The networks of a confirmation, but for rates that are added.

    Attributes:
        candidates: Names of the losses that a search has found, the best first.
        contenders: Names of the losses that they are compared with, cross entropy first.
        rates: Learning rates that every loss begins with.
        rate_runs: Networks for each loss and rate.
        new_runs: Networks for each loss at its best rate.
    """

    candidates: tuple[str, ...]
    contenders: tuple[str, ...]
    rates: tuple[float, ...]
    rate_runs: int
    new_runs: int

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of all losses."""
        return (*self.candidates, *self.contenders)

    @property
    def networks(self) -> int:
        """Number of networks."""
        return len(self.losses) * (len(self.rates) * self.rate_runs + self.new_runs)

    @property
    def least(self) -> int:
        """Least number of new runs that a budget leaves."""
        return min(LEAST_RUNS, self.new_runs)

    def __str__(self):
        each = f"{len(self.rates)} rates x {self.rate_runs} + {self.new_runs} new runs"
        return f"{len(self.losses)} losses x ({each}) = {self.networks} networks"


def fitting(plan: Plan, seconds_each: float, budget: float | None) -> tuple[Plan, list[str]]:
    """Return a plan that fits into a time budget, and say what was cut.

    New runs are cut first, down to five; then contenders, the last first, but for cross entropy;
    then candidates but for the best; then networks by which a rate is chosen.

    Args:
        plan: The plan.
        seconds_each: Expected seconds of a network, divided by the number of workers.
        budget: Seconds; `None` for no limit.
    """
    if budget is None or plan.networks * seconds_each <= budget:
        return plan, []

    def fits(plan):
        return plan.networks * seconds_each <= budget

    cut = replace(plan, new_runs=plan.least)
    while not fits(cut) and len(cut.contenders) > 1:
        cut = replace(cut, contenders=cut.contenders[:-1])
    while not fits(cut) and len(cut.candidates) > 1:
        cut = replace(cut, candidates=cut.candidates[:-1])
    while not fits(cut) and cut.rate_runs > 1:
        cut = replace(cut, rate_runs=cut.rate_runs - 1)
    offered = replace(cut, new_runs=plan.new_runs)
    cut = replace(cut, new_runs=affordable(offered, seconds_each, budget))
    said = []
    if cut.new_runs < plan.new_runs:
        said.append(f"{cut.new_runs} new runs instead of {plan.new_runs}")
    left_out = [name for name in plan.losses if name not in cut.losses]
    if left_out:
        said.append(f"without {', '.join(left_out)}")
    if cut.rate_runs < plan.rate_runs:
        networks = f"{cut.rate_runs} network{'s' * (cut.rate_runs > 1)}"
        said.append(f"{networks} a rate instead of {plan.rate_runs}")
    return cut, [f"Cut to {duration(budget)}: {', '.join(said)}."] if said else []


def affordable(plan: Plan, seconds_each: float, budget: float, *, rates_done: bool = False) -> int:
    """Return the number of new runs that a budget allows: no more than planned, at least `least`.

    Args:
        plan: The plan.
        seconds_each: As in `fitting`.
        budget: Seconds that are left.
        rates_done: Whether the networks that choose the rates are trained already.
    """
    networks = budget / max(seconds_each, 1e-9) / len(plan.losses)
    room = int(networks) - (0 if rates_done else len(plan.rates) * plan.rate_runs)
    return max(plan.least, min(plan.new_runs, room))
