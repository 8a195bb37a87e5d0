"""Figure 3 of paper B: test accuracy in the course of training, for each loss.

    python reproduce/glo_figure3.py                    a demonstration: digits, a minute or so
    python reproduce/glo_figure3.py --scale paper      MNIST, 20,000 steps, every 250 steps

The rows are those of glo_figure1.py with the same options; what is missing is trained.
"""

from functools import partial

from nglkeras.experiments import cli, glo
from nglkeras.experiments.glo import script


def main():
    """Run the script."""
    args, scale, trials, results = script.figure_networks(__doc__)
    curves = glo.tables.curve(trials, results)
    title = f"Figure 3 of paper B: training curves, {scale.dataset}, {scale.name} scale"
    script.report(
        args,
        scale,
        f"figure3_{scale.steps}",
        title,
        glo.tables.curve_layout(curves),
        glo.tables.to_frame(trials, results),
        partial(glo.plots.figure3, curves, title),
        ["Means over the runs; the figure has their range too."],
    )


if __name__ == "__main__":
    cli.run(main)
