"""Paper B's transfer experiment: Baikal, found on MNIST, on CIFAR-10, by training duration.

    python reproduce/glo_transfer.py                     a demonstration: digits, a minute or so
    python reproduce/glo_transfer.py --scale reduced     CIFAR-10, four durations
    python reproduce/glo_transfer.py --scale paper       CIFAR-10, 18 durations
    python reproduce/glo_transfer.py --scale reduced --durations 500,1000

One network for each loss and duration, each duration with its own initial weights. The text gives
neither the network nor the durations: ours are models.build("glo_cifar10") and 1,000 to 18,000
steps. Rows are journalled as they come: stop it when you like, the same command goes on.
"""

from functools import partial

from nglkeras.experiments import cli, glo
from nglkeras.experiments.glo import protocol, script


def main():
    """Run the script."""
    parser = script.parser(__doc__)
    script.add_losses(parser, default=("CE", "Baikal"))
    durations = script.numbers(cli.positive, "numbers of steps")
    parser.add_argument("--durations", type=durations, help="steps of each training")
    args = parser.parse_args()
    scale = script.chosen_scale(args)
    with cli.make_executor(args) as executor:
        settings = script.plan_arguments(args, executor)
        plans = protocol.by_duration(scale, **script.loss_arguments(args), **settings)
        trials = [trial for plan in plans.values() for trial in plan]
        results = script.run(args, trials, executor)
    found = {steps: glo.tables.summaries(plan, results) for steps, plan in plans.items()}
    title = f"Transfer to {scale.transfer_dataset}: test accuracy by training duration"
    body = glo.tables.layout_over(found, "steps", [str(steps) for steps in found])
    frame = glo.tables.to_frame(trials, results)
    figure = partial(glo.plots.over, found, "steps", title)
    notes = glo.tables.paired(trials, results)
    silent = protocol.PAPER_SILENT_ON_TRANSFER
    script.report(args, scale, "transfer", title, body, frame, figure, notes, silent)


if __name__ == "__main__":
    cli.run(main)
