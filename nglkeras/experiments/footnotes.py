"""What must stand under a table, so that nobody reads more out of it than its rows say."""

from collections.abc import Iterable, Mapping, Sequence

# Reached through it, since they need Keras: see `startup.lazy`.
import nglkeras
from nglkeras.runs.trial import Trial, TrialResult

# Settings of a trial that decide how many images it has.
_IMAGES = ("train_images", "validation_images", "evaluation_images", "splits", "own_validation")
_IMAGES += ("validation", "test")


def of_reconstructions(names: Iterable[str]) -> list[str]:
    """Return what must stand under a table with a reconstructed loss in it; nothing without one."""
    if not any(map(nglkeras.losses.is_reconstructed, names)):
        return []
    return [
        f"{nglkeras.losses.DAGGER} f1 to f3 are reconstructions of equations that no public copy "
        "shows legibly; the paper's values beside them are of the originals."
    ]


def of_data(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> list[str]:
    """Say which rows are of other numbers of images, since they must not be compared.

    The rows of a data set that its name defines do not tell its files: they may be of another
    `--data-dir`, or of files that have been added meanwhile.
    """
    found = {}
    for trial in trials:
        if (sizes := results[trial.key].sizes) is not None:
            images = trial.dataset, *(getattr(trial, name, None) for name in _IMAGES)
            found.setdefault(images, {}).setdefault(tuple(sizes), trial)
    return [
        f"Do not compare the rows of {dataset}: "
        + " and ".join(
            f"{trial} had {' + '.join(f'{count:,}' for count in sizes)} images"
            for sizes, trial in of_sizes.items()
        )
        + " (training + validation + test). Train in another --out."
        for (dataset, *_), of_sizes in found.items()
        if len(of_sizes) > 1
    ]


def of_plateaus(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> list[str]:
    """Say how many networks ended on a plateau, where training may."""
    ended = {}
    for trial in trials:
        plateau, row = trial.schedule.plateau, results[trial.key]
        if plateau is not None and plateau.stop_after is not None and row.status == "ok":
            on_plateau = len(row.history) < trial.schedule.epochs
            measure = trial.measure.replace("_", " ").replace("iou", "IoU")
            ended.setdefault((plateau.stop_after, measure), {})[trial.key] = on_plateau
    return [
        f"Training ends after {epochs} epochs without a better validation {measure} at the least "
        f"learning rate: so did {sum(found.values())} of {len(found)} networks; the others ended "
        "at the limit on epochs."
        for (epochs, measure), found in ended.items()
    ]


def of_backend(name: str) -> list[str]:
    """Return what must stand under a table whose networks were not trained on TensorFlow."""
    titles = {"jax": "JAX", "torch": "PyTorch"}
    return [f"The networks were trained by Keras on {titles[name]}."] if name in titles else []
