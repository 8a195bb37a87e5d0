"""Decide which images of a data set are for training, validation and test.

With official splits, a data set's own test split is the test set, and a seeded tenth of its train
split, or its own validation split, is the validation set. With random splits, and where there is no
test split, all images are divided 80/10/10 by the seed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nglkeras.data.catalog import get_info
from nglkeras.errors import unknown
from nglkeras.numbers import convert_whole_numbers
from nglkeras.seeds import derive_seed

# Paper A "randomly generates" training, validation and test sets and does not say whether it uses
# the data sets' own test splits ("official") or draws from all images ("random").
SPLITS = ("official", "random")

TRAIN, VALIDATION, TEST, UNUSED = range(4)


@dataclass(frozen=True)
class Division:
    """How the examples of a data set are divided.

    Attributes:
        splits: "official", to test on the data set's own test split, or "random", to divide all of
            its images 80/10/10 by the seed.
        own_validation: Whether to validate on the data set's own validation split where splits are
            official; otherwise that split is not used.
        train_images: Upper limit on training images, drawn by the seed; `None` for all.
        evaluation_images: The same for validation and for test.
        validation_images: Images to set aside for validation, instead of a tenth of the train
            split.
    """

    splits: str = "official"
    own_validation: bool = False
    train_images: int | None = None
    evaluation_images: int | None = None
    validation_images: int | None = None

    def __post_init__(self):
        if self.splits not in SPLITS:
            raise unknown("splits", self.splits, SPLITS)
        for name in ("train_images", "evaluation_images", "validation_images"):
            if getattr(self, name) is not None:
                convert_whole_numbers(self, **{name: 1})

    def parts(
        self, sizes: dict[str, int], seed: int, test_seed: int | None = None
    ) -> dict[str, np.ndarray]:
        """Draw the part that each example of each split on disk belongs to.

        `sizes` are numbers of examples by split; `test_seed` is as in `load_arrays`. Returns
        `TRAIN`, `VALIDATION`, `TEST` or `UNUSED`, int8 `[examples]`, by split.
        """
        if self.splits == "official":
            return self._official(sizes, seed, test_seed)
        # As one split without a test split beside it.
        whole = self._official({"train": sum(sizes.values())}, seed)["train"]
        ends = np.cumsum(list(sizes.values()))[:-1]
        return dict(zip(sizes, np.split(whole, ends), strict=True))

    def _official(self, sizes, seed, test_seed=None):
        order = _order(derive_seed(seed, "split"), sizes["train"])
        tenth = round(sizes["train"] / 10)
        parts = {split: np.full(size, UNUSED, "int8") for split, size in sizes.items()}
        if "test" in sizes:
            test = _order(derive_seed(seed, "test"), sizes["test"])
            parts["test"][test[: self.evaluation_images]] = TEST
        else:
            if test_seed is None:
                test, order = order[:tenth], order[tenth:]
            else:
                test = _order(test_seed, sizes["train"])[:tenth]
                order = order[~np.isin(order, test)]
            parts["train"][test[: self.evaluation_images]] = TEST
        held = tenth if self.validation_images is None else self.validation_images
        if self.own_validation and "validation" in sizes:
            validation = _order(derive_seed(seed, "validation"), sizes["validation"])
            validation = validation[: self.validation_images][: self.evaluation_images]
            parts["validation"][validation] = VALIDATION
            held = 0
        parts["train"][order[:held][: self.evaluation_images]] = VALIDATION
        parts["train"][order[held:][: self.train_images]] = TRAIN
        return parts


def _order(seed, count):
    return np.random.default_rng(seed).permutation(count)


def splits_with(part: int, parts: dict[str, np.ndarray]) -> list[str]:
    """List the splits on disk that have examples of a part."""
    return [split for split, members in parts.items() if (members == part).any()]


def describe(trial, data_dir: str | Path | None = None) -> str:
    """Say how the images of a `Trial` are divided; a "folder" in `data_dir` is listed for that."""
    if trial.splits == "official" and get_info(trial.dataset, data_dir).has_test:
        own = "its own validation split"
        validation = own if trial.own_validation else "a tenth of train, drawn for every run"
        return f"tested on the official test split, validated on {validation}"
    drawn = "all images divided 80/10/10 at random"
    if trial.splits == "official" and trial.compile_once:
        return f"{drawn}, one test set for all runs"
    return f"{drawn} for every run"
