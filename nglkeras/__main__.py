"""The experiments as commands, for those who have the package and not the folder reproduce/.

`nglkeras table2 --scale reduced`, or `python -m nglkeras table2 --scale reduced`, does what
`python reproduce/table2.py --scale reduced` does. `nglkeras` alone lists the commands.
"""

import sys
from importlib import import_module
from inspect import getdoc

import nglkeras
from nglkeras import experiments
from nglkeras.errors import UserError, unknown

# By the names of the scripts in reproduce/: the `Script`, or the function of its help text.
_EXPERIMENTS = {
    "table1": "classification.data_sets.table1",
    "table2": "classification.experiment.TABLE_2",
    "table3": "imagenet.experiment.TABLE_3",
    "figure2": "imagenet.experiment.FIGURE_2",
    "table4": "segmentation.experiment.TABLE_4",
    "table5": "segmentation.experiment.TABLE_5",
    "table_b21": "classification.data_sets.table_b21",
    "table_b22": "classification.pretraining.TABLE_B22",
    "search": "discovery.searches.PAPER_A",
    "glo_figure1": "glo.figures.FIGURE_1",
    "glo_figure3": "glo.figures.FIGURE_3",
    "glo_data": "glo.figures.DATA_PORTIONS",
    "glo_transfer": "glo.figures.TRANSFER",
    "glo_search": "discovery.searches.GLO",
    "learning_rates": "learning_rates.study.LEARNING_RATES",
    "rediscovery": "discovery.rediscovery.REDISCOVERY",
    "calibration": "calibration.study.CALIBRATION",
    "check_data": "classification.data_sets.check_data",
    "status": "progress.status",
    "weights": "archive.networks.save_networks",
}
# Functions that return a figure; their modules need Matplotlib.
_FIGURES = {
    "figure1": "experiments.classification.plots.figure1",
    "figure_a": "search.plots.figure_a",
    "figure_b2": "experiments.classification.plots.figure_b2",
    "glo_figure2": "experiments.glo.plots.figure2",
}
COMMANDS = [*_EXPERIMENTS, *_FIGURES]
_DRAW = "Draw a figure of the papers that needs no training."


def main() -> None:
    """Run the command that the arguments name."""
    try:
        _run(*sys.argv[1:] or ["--help"])
    except UserError as error:  # from outside `script.main`, whose module needs packages itself
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _run(command, *arguments):
    if command == "--version":
        print("nglkeras", nglkeras.__version__)
        return
    if command in ("-h", "--help"):
        print(_help())
        return
    name = command.replace("-", "_")
    # The name that messages and --help show.
    sys.argv = [f"nglkeras {command}", *arguments]
    if name in _FIGURES:
        experiments.script.draw(_DRAW, lambda: _load(_FIGURES[name])(), name)
    elif name not in _EXPERIMENTS:
        raise unknown("command", command, COMMANDS)
    elif isinstance(found := _experiment(name), experiments.script.Script):
        found.run(_line(found))
    else:
        experiments.script.main(lambda: found(_line(found)))


def _help():
    usage = "usage: nglkeras COMMAND [OPTIONS]     nglkeras COMMAND --help shows its options"
    lines = [f"  {name:15} {_line(_experiment(name))}" for name in _EXPERIMENTS]
    return "\n".join([usage, "", *lines, f"  {', '.join(_FIGURES)}", f"{'':17} {_DRAW}"])


def _experiment(name):
    return _load(f"experiments.{_EXPERIMENTS[name]}")


def _load(path):
    module, _, name = f"nglkeras.{path}".rpartition(".")
    return getattr(import_module(module), name)


def _line(found):
    """Return the title of an experiment, or the first line of its documentation."""
    return getattr(found, "title", "") or getdoc(found).partition("\n")[0]


if __name__ == "__main__":
    main()
