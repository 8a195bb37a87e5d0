"""Table 3 of paper A: ImageNet's top-1 accuracy of ResNets and Swin Transformers with each loss.

    python reproduce/table3.py                     a demonstration: digits, small networks, some
                                                   minutes on two cores
    python reproduce/table3.py --scale reduced     ResNet101 and Swin-T on Imagenette (10 classes,
                                                   160 pixels, 90 epochs): about a day on a GPU
    python reproduce/table3.py --scale paper       sixteen networks, 180 or 400 epochs of ImageNet:
                                                   each some days on eight GPUs
    python reproduce/table3.py --scale paper --dataset folder --data-dir /data/imagenet
    python reproduce/table3.py --scale reduced --models Swin-T --precision mixed_bfloat16

ImageNet is TFDS' imagenet2012: put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which
image-net.org gives to those who register, into TFDS_DATA_DIR/downloads/manual; or a folder with
train/CLASS/*.JPEG and val/CLASS/*.JPEG. With all GPUs of a machine: --strategy mirrored; on a
cluster: --executor ray.

Every ten minutes, and after each epoch, a training writes down its state. Stop it when you like:
the same command goes on in the middle of the epoch. figure2.py draws the epochs of the same rows.
"""

from functools import partial

from nglkeras.experiments import cli, imagenet
from nglkeras.experiments.imagenet import script
from nglkeras.report import output, tables


def main():
    """Run the script."""
    parser = script.parser(__doc__)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="instead of the scale's own")
    args = parser.parse_args()
    scale = script.chosen_scale(args)
    # What can be missing is missed before a training, not after it.
    printed, save = imagenet.tables.read_printed(), output.saver(args)
    trials, results = script.trained(args, scale)
    table = imagenet.tables.cells(trials, results, printed)
    title = f"Table 3: top-1 accuracy in %, {scale.name} scale"
    notes = [
        f"Scale {scale.name}: {scale.note}.",
        f"Data set {scale.dataset}, {scale.image_size} pixels; measured, the paper's in "
        "parentheses; the best of a row is marked. Accuracies are those of the last epoch, on the "
        "split that no training looks at to decide anything (of ImageNet, validation).",
        script.SILENT,
        *cli.reconstruction_note(cell.loss for cell in table),
    ]
    divided = sum(cell.divided for cell in table)
    if divided:
        notes.append(f"{divided} of the networks had their batches divided for lack of memory.")
    details = imagenet.tables.details(table)
    body = tables.as_text(imagenet.tables.layout(table, printed))
    print("", title, "", body, "", tables.as_text(details), "", *notes, sep="\n")
    parts = [imagenet.tables.layout(table, printed, bold=("**", "**")), details]
    figure = partial(imagenet.plots.table3, table, title)
    path = script.folder(args) / "table3"
    with output.writing_to(path.parent):
        output.write_table(path, title, parts, notes, imagenet.tables.to_frame(table), figure, save)


if __name__ == "__main__":
    cli.run(main)
