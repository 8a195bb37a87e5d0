"""What is known of the data sets: tables 1 and B.2.1 of paper A, and what is ready here."""

import numpy as np

# What needs Keras or pandas is reached through packages: see `startup.lazy`.
from nglkeras import data, report
from nglkeras.data import catalog
from nglkeras.experiments import options
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.experiment import split_notes
from nglkeras.experiments.classification.trial import plan

# The columns of table B.2.1 that are shown side by side.
_SHORT = ("epochs", "optimizer", "learning_rate", "batch_size", "image_size")
_READINGS = """The scan has six image sizes for seven columns. The images' own size decides for
CIFAR-10, CIFAR-100, PCam and Colorectal Histology; the others are our reading. 32 x 32
images are enlarged x8 inside the network, as in the authors' example. What else the
other columns could have, by options of table2.py and table_b22.py:"""


def _data_dir(doc):
    parser = options.Parser(doc)
    text = "TFDS' folder (default: TFDS_DATA_DIR)"
    parser.add_argument("--data-dir", type=options.folder, help=text)
    return parser.parse_args().data_dir


def table1(doc: str) -> None:
    """Print table 1: the data sets, as printed and as they are."""
    data_dir = _data_dir(doc)
    rows = [["data set", "", "classes", "images", "per class", "image size"]]
    for title, row in report.printed.read_printed("table1").iterrows():
        rows.append([title, "paper", row.classes, row.dataset_size, row.class_size, row.image_size])
        info = catalog.INFO[row.tfds_name]
        height, width, channels = info.image_size
        size = "differs" if height is None else f"{height} x {width} x {channels}"
        found = ["catalogue", str(info.classes), str(info.images), "–"]
        if data.sources.is_ready(row.tfds_name, data_dir):
            counts = data.datasets.class_counts(row.tfds_name, data_dir)
            per_class = "-".join(map(str, sorted({counts.min(), counts.max()})))
            found = ["counted", str(np.count_nonzero(counts)), str(counts.sum()), per_class]
        rows.append(["", *found, size])
    print("Table 1: data sets", "", report.tables.as_text(rows), sep="\n")
    notes = split_notes(plan(protocol.TABLE2_SCALES["paper"], ["CE"]))
    print("\nCaltech 101 has 101 classes and a background.")
    print("Tables 2 and B.2.2 divide them, unless --splits says otherwise:", *notes, sep="\n")


def check_data(doc: str) -> None:
    """Print which data sets are ready, and how to get the others."""
    data_dir = _data_dir(doc)
    rows, missing = [["data set", "ready", "images", "download", "terms"]], []
    for name, info in catalog.INFO.items():
        ready = data.sources.is_ready(name, data_dir)
        if not ready:
            missing.append(f"{name}: {catalog.advice(name, data_dir)}")
        rows.append([name, "yes" if ready else "no", f"{info.images:,}", info.download, info.terms])
    print(f"Data sets in {catalog.data_directory(data_dir)}", "", sep="\n")
    print(report.tables.as_text(rows))
    if missing:
        print("\nHow to get those that are not ready:", *missing, sep="\n\n")


def table_b21(doc: str) -> None:
    """Print table B.2.1: our training settings beside the printed ones."""
    options.Parser(doc).parse_args()
    printed = report.printed.read_printed("table_b21")
    names = {info.title: name for name, info in catalog.INFO.items()}
    shown = {}
    for title in printed.columns:
        ours = _settings(protocol.SETTINGS[names[title]])
        both = {name: (ours[name], printed[title][name]) for name in printed.index}
        shown[title] = {n: a if a == b else f"{a} ({b})" for n, (a, b) in both.items()}
    rows = [[title, *(column[name] for name in _SHORT)] for title, column in shown.items()]
    rows.insert(0, ["data set", *_SHORT])
    print("Table B.2.1: training settings", "", report.tables.as_text(rows), sep="\n")
    for name in (name for name in printed.index if name not in _SHORT):
        groups = {}
        for title, column in shown.items():
            groups.setdefault(column[name], []).append(title)
        print(f"\n{name}")
        for value, titles in groups.items():
            print(f"  {value}: {'all' if len(groups) == 1 else ', '.join(titles)}")
    print("", _READINGS, sep="\n")
    for name, readings in protocol.OTHER_SIZES.items():
        for size, factor in readings:
            enlarged = f" --upsampling {name}={factor}" if factor > 1 else ""
            title = catalog.INFO[name].title
            print(f"  {title}, {size} x {size}: --image-size {name}={size}{enlarged}")


def _settings(setting):
    """Return a column of the table, in the words of the printed one."""
    schedule, plateau, change = setting.schedule, setting.schedule.plateau, setting.augmentation
    scheduler = "none"
    if plateau is not None:
        scheduler = (
            f"reduce on plateau: factor {plateau.factor:g} patience {plateau.patience} "
            f"min {plateau.min_learning_rate:.0e}"
        )
    changes = [f"zoom {change.zoom:g}", f"width and height shift {change.shift:g}"]
    if change.horizontal_flip:
        changes.append("horizontal flip")
    settings = " ".join(f"{name}={value:g}" for name, value in schedule.optimizer_settings)
    return {
        "epochs": str(schedule.epochs),
        "optimizer": schedule.optimizer,
        "optimizer_settings": settings.replace("e-0", "e-"),
        "learning_rate": f"{schedule.learning_rate:g}",
        "scheduler": scheduler.replace("e-0", "e-"),
        "batch_size": str(schedule.batch_size),
        "image_size": f"{setting.image_size} x {setting.image_size}",
        "augmentation": ", ".join(changes),
    }
