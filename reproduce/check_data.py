"""Which data sets are ready, how large they are, on what terms, and how to get the rest.

python reproduce/check_data.py [--data-dir DIR]
"""

from pathlib import Path

from nglkeras import data
from nglkeras.data import catalog
from nglkeras.experiments import cli
from nglkeras.report import tables


def main():
    """Run the script."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, help="TFDS' folder (default: TFDS_DATA_DIR)")
    args = parser.parse_args()
    rows = [["data set", "ready", "images", "download", "terms"]]
    missing = []
    for name, info in catalog.INFO.items():
        ready = data.sources.is_ready(name, args.data_dir)
        if not ready:
            missing.append(f"{name}: {catalog.advice(name, args.data_dir)}")
        rows.append([name, "yes" if ready else "no", f"{info.images:,}", info.download, info.terms])
    print(
        f"Data sets in {catalog.data_directory(args.data_dir)}",
        "",
        tables.as_text(rows),
        sep="\n",
    )
    if missing:
        print("\nHow to get those that are not ready:", *missing, sep="\n\n")


if __name__ == "__main__":
    cli.run(main)
