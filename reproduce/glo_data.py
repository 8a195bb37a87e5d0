"""Paper B's data-portion experiment: test accuracy against the share of the training images.

    python reproduce/glo_data.py                     a demonstration: digits, two minutes
    python reproduce/glo_data.py --scale reduced     MNIST, 2,000 steps, four shares, three networks
    python reproduce/glo_data.py --scale paper       MNIST, 20,000 steps, nine shares, five networks
    python reproduce/glo_data.py --scale reduced --portions 0.05,0.5

Rows are journalled as they come: stop it when you like, the same command goes on.
"""

from functools import partial

from nglkeras.experiments import cli, glo
from nglkeras.experiments.glo import protocol, script


def main():
    """Run the script."""
    parser = script.parser(__doc__)
    script.add_losses(parser)
    add = parser.add_argument
    add("--runs", type=cli.positive, dest="portion_runs", help="networks for each loss and share")
    add("--portions", type=script.numbers(float, "shares"), help="of the training images")
    script.add_steps(parser)
    args = parser.parse_args()
    scale = script.chosen_scale(args)
    with cli.make_executor(args) as executor:
        settings = script.plan_arguments(args, executor)
        plans = protocol.by_portion(scale, **script.loss_arguments(args), **settings)
        # Run by run, so that an interrupted experiment has every share.
        trials = sorted((t for plan in plans.values() for t in plan), key=lambda trial: trial.run)
        results = script.run(args, trials, executor)
    found = {portion: glo.tables.summaries(plan, results) for portion, plan in plans.items()}
    title = f"Accuracy by share of the training images, {scale.dataset}, {scale.steps} steps"
    body = glo.tables.layout_over(found, "share", [f"{portion:g}" for portion in found])
    figure = partial(glo.plots.over, found, "share of the training images", title, log=True)
    frame = glo.tables.to_frame(trials, results)
    script.report(args, scale, f"data_{scale.steps}", title, body, frame, figure)


if __name__ == "__main__":
    cli.run(main)
