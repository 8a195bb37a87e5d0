"""Table 1 of paper A: the data sets, as printed and as they are.

    python reproduce/table1.py [--data-dir DIR]

Where a data set is ready on this machine its images are counted; else what is known of it is
shown. Nothing is downloaded.
"""

from pathlib import Path

import numpy as np

from nglkeras import catalog, cli, datasets, sources, tables


def measured(name: str, data_dir: Path | None) -> list[str]:
    """Classes, images and images per class of a data set that is ready."""
    counts = datasets.class_counts(name, data_dir)
    low, high = counts.min(), counts.max()
    per_class = f"{low}" if low == high else f"{low}-{high}"
    return [str(np.count_nonzero(counts)), str(counts.sum()), per_class]


def main():
    """Run the script."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, help="TFDS' folder (default: TFDS_DATA_DIR)")
    args = parser.parse_args()
    rows = [["data set", "", "classes", "images", "per class", "image size"]]
    for title, row in tables.read_printed("table1").iterrows():
        rows.append([title, "paper", row.classes, row.dataset_size, row.class_size, row.image_size])
        info = catalog.INFO[row.tfds_name]
        height, width, channels = info.image_size
        size = "differs" if height is None else f"{height} x {width} x {channels}"
        if sources.is_ready(row.tfds_name, args.data_dir):
            rows.append(["", "counted", *measured(row.tfds_name, args.data_dir), size])
        else:
            rows.append(["", "catalogue", str(info.classes), str(info.images), "–", size])
    print("Table 1: data sets", "", tables.as_text(rows), sep="\n")
    print(
        "\nPCam comes with a validation split of 32,768 images that the protocol does not use: "
        "validation is a tenth of train for every data set.\nPer-class counts are over the "
        "splits that are used; Caltech 101 has 101 classes and a background."
    )


if __name__ == "__main__":
    cli.run(main)
