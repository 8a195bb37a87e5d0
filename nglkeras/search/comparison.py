"""What losses reach at the learning rate of their search on data that it has not seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """What a loss reaches on data that the search has not seen.

    Attributes:
        name: Name of the loss.
        formula: Formula of the loss.
        accuracies: Accuracy of each network, in [0, 1], or the metric of the search.
        runs: The run of each network; losses share initial weights in runs of the same number.
    """

    name: str
    formula: str
    accuracies: tuple[float, ...]
    runs: tuple[int, ...] = ()
