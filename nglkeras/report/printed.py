"""The tables that the papers print."""

from importlib import resources

import pandas as pd


def read_numbers(name: str, **options) -> pd.DataFrame:
    """Read a table that a paper prints; the files are part of the package."""
    path = resources.files("nglkeras.experiments") / "paper" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, index_col=0, **options)


def read_printed(name: str) -> pd.DataFrame:
    """Read a printed table, e.g. `"table1"`, with every cell as text."""
    return read_numbers(name, dtype=str, keep_default_na=False)
