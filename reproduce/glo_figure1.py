"""Figure 1 of paper B: mean accuracy of networks trained with each loss, and Welch's test.

    python reproduce/glo_figure1.py                    a demonstration: digits, a minute or so
    python reproduce/glo_figure1.py --scale reduced    MNIST, 2,000 steps, five networks a loss
    python reproduce/glo_figure1.py --scale paper      MNIST, 20,000 steps, ten networks a loss
    python reproduce/glo_figure1.py --scale reduced --class-reduction mean --losses Baikal --runs 2

Rows are journalled as they come: stop it when you like, the same command goes on. glo_figure3.py
draws the training curves of the same rows.
"""

from functools import partial

from nglkeras.experiments import cli, glo
from nglkeras.experiments.glo import script


def main():
    """Run the script."""
    args, scale, trials, results = script.figure_networks(__doc__)
    printed = glo.tables.printed_numbers()
    found = [
        one
        for part in glo.tables.PARTS
        for one in glo.tables.summaries(trials, results, part, printed)
    ]
    title = f"Figure 1 of paper B: accuracy after {scale.steps} steps, {scale.name} scale"
    note = (
        "p is Welch's, two-sided; the losses of a run share its split and initial weights, which "
        "it does not use. The paper's numbers are given where it has them for this setting."
    )
    script.report(
        args,
        scale,
        f"figure1_{scale.steps}",
        title,
        glo.tables.layout(found),
        glo.tables.to_frame(trials, results),
        partial(glo.plots.figure1, found, title),
        [note],
    )


if __name__ == "__main__":
    cli.run(main)
