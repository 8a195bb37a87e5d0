"""Figure 2 of paper A: ResNet101's mean validation accuracy by epoch: NGL, SCE and focal loss.

    python reproduce/figure2.py                    a demonstration: digits, a small ResNet, a minute
                                                   or two on two cores
    python reproduce/figure2.py --scale reduced    ResNet101 on Imagenette: some hours on a GPU
    python reproduce/figure2.py --scale paper      ResNet101 on ImageNet: each network some days on
                                                   eight GPUs
    python reproduce/figure2.py --scale reduced --model Swin-T --losses NGL CE

Curves are means over the runs (--runs), with the runs' range around them. Whole, and zoomed
from 100/180 of the epochs on as in the paper. Its networks are table 3's: rows that table3.py has
journalled are drawn as they are, what is missing is trained and counts there too. The same options
must be given for that.
"""

from dataclasses import replace
from functools import partial

import nglkeras
from nglkeras.errors import UserError
from nglkeras.experiments import cli, imagenet
from nglkeras.experiments.imagenet import script
from nglkeras.report import output


def main():
    """Run the script."""
    parser = script.parser(__doc__)
    parser.add_argument("--model", dest="figure_model", metavar="NAME", help="another model")
    args = parser.parse_args()
    scale = script.chosen_scale(args)
    scale = replace(scale, models=(scale.figure_model,))
    # The paper's legend begins with its own loss.
    args.losses = args.losses or sorted(nglkeras.losses.rows_of("figure2"), key="NGL".__ne__)
    save = output.saver(args)
    trials, results = script.trained(args, scale)
    curves = imagenet.tables.curves(trials, results)
    if not curves:
        message = results[trials[0].key].message
        raise UserError(f"no network was trained to its end; the first: {message}")
    title = f"Figure 2: {scale.figure_model} on {scale.dataset}, {scale.name} scale"
    print("", title, "", f"Scale {scale.name}: {scale.note}.", script.SILENT, sep="\n")
    for loss, runs in curves.items():
        print(f"{loss}: {runs[:, -1].mean():.2f} % after {runs.shape[1]} epochs, {len(runs)} runs")
    for trial in trials:
        if results[trial.key].status != "ok":
            print(f"{trial}: {results[trial.key].status}, not drawn")
    folder = script.folder(args)
    with output.writing_to(folder):
        imagenet.tables.curves_to_frame(curves).to_csv(folder / "figure2.csv", index=False)
        for path in save(partial(imagenet.plots.figure2, curves, title), folder, "figure2"):
            print(f"written: {path}")


if __name__ == "__main__":
    cli.run(main)
