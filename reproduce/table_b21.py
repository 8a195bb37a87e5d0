"""Table B.2.1 of paper A: the training settings of each data set, ours beside the printed ones.

    python reproduce/table_b21.py

A value on which both agree is shown once; where they differ, the printed one is in parentheses.
What else the illegible image sizes could be stands below.
"""

from nglkeras import report
from nglkeras.data import catalog
from nglkeras.experiments import cli
from nglkeras.experiments.classification import protocol
from nglkeras.report import tables

SHORT = ("epochs", "optimizer", "learning_rate", "batch_size", "image_size")
PLATEAU = "reduce on plateau: factor {:g} patience {} min {:.0e}"


def settings(name: str) -> dict[str, str]:
    """A column of the table, in the words of the printed one."""
    setting = protocol.SETTINGS[name]
    schedule, plateau, change = setting.schedule, setting.schedule.plateau, setting.augmentation
    options = " ".join(f"{k}={v:g}" for k, v in schedule.optimizer_settings)
    scheduler = "none"
    if plateau is not None:
        values = (plateau.factor, plateau.patience, plateau.min_learning_rate)
        scheduler = PLATEAU.format(*values)
    changes = [f"zoom {change.zoom:g}", f"width and height shift {change.shift:g}"]
    if change.horizontal_flip:
        changes.append("horizontal flip")
    return {
        "epochs": str(schedule.epochs),
        "optimizer": schedule.optimizer,
        "optimizer_settings": options.replace("e-0", "e-"),
        "learning_rate": f"{schedule.learning_rate:g}",
        "scheduler": scheduler.replace("e-0", "e-"),
        "batch_size": str(schedule.batch_size),
        "image_size": f"{setting.image_size} x {setting.image_size}",
        "augmentation": ", ".join(changes),
    }


def both(ours: str, printed: str) -> str:
    """One value where ours is the printed one, else both."""
    return ours if ours == printed else f"{ours} ({printed})"


def other_sizes() -> list[str]:
    """List the other readings of the image sizes, and the options that train with them."""
    lines = [
        "The scan has six image sizes for seven columns. The images' own size decides for",
        "CIFAR-10, CIFAR-100, PCam and Colorectal Histology; the others are our reading. 32 x 32",
        "images are enlarged x8 inside the network, as in the authors' example. What else the",
        "other columns could have, by options of table2.py and table_b22.py:",
    ]
    for name, readings in protocol.OTHER_SIZES.items():
        for size, factor in readings:
            options = f"--image-size {name}={size}"
            if factor > 1:
                options += f" --upsampling {name}={factor}"
            lines.append(f"  {catalog.INFO[name].title}, {size} x {size}: {options}")
    return lines


def main():
    """Run the script."""
    cli.Parser(__doc__).parse_args()
    printed = report.printed.read_printed("table_b21")
    names = {info.title: name for name, info in catalog.INFO.items()}
    ours = {title: settings(names[title]) for title in printed.columns}
    rows = [["data set", *SHORT]]
    for title in printed.columns:
        rows.append([title, *(both(ours[title][name], printed[title][name]) for name in SHORT)])
    print("Table B.2.1: training settings", "", tables.as_text(rows), sep="\n")
    for name in (name for name in printed.index if name not in SHORT):
        groups = {}
        for title in printed.columns:
            groups.setdefault(both(ours[title][name], printed[title][name]), []).append(title)
        print(f"\n{name}")
        for value, titles in groups.items():
            print(f"  {value}: {'all' if len(groups) == 1 else ', '.join(titles)}")
    print("", *other_sizes(), sep="\n")


if __name__ == "__main__":
    cli.run(main)
