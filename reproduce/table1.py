"""Table 1 of paper A: the data sets, as printed and as they are.

    python reproduce/table1.py [--data-dir DIR]

Where a data set is ready on this machine its images are counted, in all of its splits; else what
is known of it is shown. Nothing is downloaded.
"""

from pathlib import Path

import numpy as np

from nglkeras import data, report
from nglkeras.data import catalog
from nglkeras.experiments import cli
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.table import split_notes
from nglkeras.experiments.classification.trial import plan
from nglkeras.report import tables


def measured(name: str, data_dir: Path | None) -> list[str]:
    """Count the classes, images and images per class of a data set that is ready."""
    counts = data.datasets.class_counts(name, data_dir)
    low, high = counts.min(), counts.max()
    per_class = f"{low}" if low == high else f"{low}-{high}"
    return [str(np.count_nonzero(counts)), str(counts.sum()), per_class]


def divided() -> list[str]:
    """Say how each data set of the table is divided by default."""
    scale = protocol.TABLE2_SCALES["paper"]
    notes = split_notes(plan(scale, ["CE"]))
    return ["Tables 2 and B.2.2 divide them, unless --splits says otherwise:", *notes]


def main():
    """Run the script."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, help="TFDS' folder (default: TFDS_DATA_DIR)")
    args = parser.parse_args()
    rows = [["data set", "", "classes", "images", "per class", "image size"]]
    for title, row in report.printed.read_printed("table1").iterrows():
        rows.append([title, "paper", row.classes, row.dataset_size, row.class_size, row.image_size])
        info = catalog.INFO[row.tfds_name]
        height, width, channels = info.image_size
        size = "differs" if height is None else f"{height} x {width} x {channels}"
        if data.sources.is_ready(row.tfds_name, args.data_dir):
            rows.append(["", "counted", *measured(row.tfds_name, args.data_dir), size])
        else:
            rows.append(["", "catalogue", str(info.classes), str(info.images), "–", size])
    print("Table 1: data sets", "", tables.as_text(rows), sep="\n")
    print("\nCaltech 101 has 101 classes and a background.", *divided(), sep="\n")


if __name__ == "__main__":
    cli.run(main)
