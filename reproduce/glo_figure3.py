"""Figure 3 of paper B: test accuracy in the course of training, for each loss.

    python reproduce/glo_figure3.py                    a demonstration: digits, a minute or so
    python reproduce/glo_figure3.py --scale paper      MNIST, 20,000 steps, every 250 steps

The rows are those of glo_figure1.py with the same options; what is missing is trained.
"""

from nglkeras import cli
from nglkeras.glo import plots, protocol, script, tables


def main():
    """Run the script."""
    parser = script.parser(__doc__)
    script.add_losses(parser)
    parser.add_argument("--runs", type=cli.positive, help="networks for each loss")
    script.add_steps(parser)
    args = parser.parse_args()
    scale = script.chosen_scale(args)
    trials = protocol.plan(scale, **script.loss_arguments(args), **script.plan_arguments(args))
    results = script.run(args, trials)
    curves = tables.curve(trials, results)
    title = f"Figure 3 of paper B: training curves, {scale.dataset}, {scale.name} scale"
    script.report(
        args,
        scale,
        f"figure3_{scale.steps}",
        title,
        tables.curve_layout(curves),
        tables.to_frame(trials, results),
        plots.figure3(curves, title),
        ["Means over the runs; the figure has their range too."],
    )


if __name__ == "__main__":
    cli.run(main)
