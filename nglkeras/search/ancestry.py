"""How an individual was made, and from whom."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nglkeras.search.strategy import SEED

if TYPE_CHECKING:
    from nglkeras.search.records import Record

# Ways in which an individual is made; "both" is a crossover and a mutation.
MAKERS = ("random", "known loss", "crossover", "mutation", "both", "copy")


def maker(record: "Record") -> str:
    """Return one of `MAKERS`."""
    made_by = record.individual.made_by
    if made_by == SEED:
        return "known loss"
    if made_by == ("random",):
        return "random"
    crossed, mutated = "crossover" in made_by, any("mutation" in name for name in made_by)
    if crossed and mutated:
        return "both"
    if crossed:
        return "crossover"
    return "mutation" if mutated else "copy"


def first_parents(records: Mapping[str, "Record"], id: str) -> list[str]:  # noqa: A002
    """Return the ids of an individual, its first parent, the first parent of that, and so on."""
    line = [id]
    while records[line[-1]].individual.parents:
        line.append(records[line[-1]].individual.parents[0])
    return line
