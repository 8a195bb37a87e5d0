"""table4.py and table5.py as a user runs them, and the tables and figures that they write."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nglkeras.experiments import footnotes
from nglkeras.experiments.segmentation import tables
from nglkeras.experiments.segmentation.protocol import plan
from nglkeras.experiments.segmentation.recipes import TABLE4_SCALES
from nglkeras.report.tables import as_text, columns_of, frame
from nglkeras.runs.trial import TrialResult

SMALL = [
    *("--models", "unet_narrow", "--runs", "1", "--epochs", "1", "--image-size", "32"),
    *("--train-images", "16", "--evaluation-images", "8"),
]


class TestTable4:
    @pytest.mark.slow
    def test_trains_then_prints_from_the_journal(self, script, tmp_path):
        arguments = ["--losses", "CE", "NGL", *SMALL, "--out", tmp_path]
        code, out, err = script("table4", *arguments)
        assert (code, "Traceback" in err) == (0, False)
        assert "2 of 2 trials to run" in out
        for part in (
            "f5 (NGL)",
            "(50.1)",
            "(52.8)",
            "Welch's p",
            "with other runs",
            "our choice",
        ):
            assert part in out
        names = ["table4.csv", "table4.md", "table4.png", "table4_unet_narrow_scenes.png"]
        for name in names:
            assert (tmp_path / name).stat().st_size > 100
        assert "| background |" in (tmp_path / "table4.md").read_text()
        rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        assert [row["trial"]["loss"] for row in rows] == ["CE", "NGL"]
        assert all("val_mean_iou" in row["history"][0] for row in rows)
        # What a row stands for needs no checkpoint.
        assert not list((tmp_path / "checkpoints").iterdir())
        table = out[out.index("Table 4:") :]

        code, out, err = script("table4", *arguments)
        assert (code, err) == (0, "")
        assert "to run" not in out
        assert out[out.index("Table 4:") :] == table

        kept = list((tmp_path / "predictions").iterdir())
        with np.load(kept[0]) as file:
            others = {str(int(row) + 1000): file[row] for row in file.files}
        np.savez(kept[0], **others)
        code, out, _ = script("table4", *arguments)
        assert code == 0
        assert "no qualitative figure of unet_narrow: predictions are of other test images" in out

        for path in kept:
            path.write_bytes(b"no longer")
        code, out, _ = script("table4", *arguments)
        assert code == 0
        assert "no qualitative figure of unet_narrow" in out

    def test_a_folder_of_ones_own(self, script, tmp_path):
        random = np.random.default_rng(0)
        for split in ("train", "val", "test"):
            for what, shape in (("images", (40, 50, 3)), ("masks", (40, 50))):
                folder = tmp_path / split / what
                folder.mkdir(parents=True)
                for i in range(8):
                    pixels = random.integers(0, 256 if what == "images" else 3, shape, "uint8")
                    Image.fromarray(pixels).save(folder / f"{i}.png")
        (tmp_path / "classes.txt").write_text("one\ntwo\nthree\n")
        code, out, _ = script(
            "table4", "--scale", "small", *SMALL, "--losses", "Dice", "--class-weights", "balanced",
            "--dataset", "folder", "--data-dir", tmp_path, "--out", tmp_path / "out",
        )  # fmt: skip
        assert code == 0
        assert "balanced class weights" in out
        assert "so did 0 of 1 networks" in out
        assert "Data: Folder" in out
        (row,) = map(json.loads, (tmp_path / "out" / "journal.jsonl").read_text().splitlines())
        assert row["trial"]["files_sha256"]
        assert {"iou/one", "iou/two", "iou/three"} <= row["metrics"].keys()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--losses", "CSE-B"], "CSE-Autoloss-B has no loss for class indices; choose from"),
            (["--models", "unet50"], "unknown model 'unet50'; choose from: unet, deeplabv2"),
            (["--dataset", "ade"], "unknown data set 'ade'; choose from: scenes, camvid"),
            (["--scale", "huge"], "unknown scale 'huge'; choose from: demo, reduced, small, paper"),
            (["--scale", "reduced"], "data set camvid wants --data-dir"),
            (["--scale", "paper", "--data-dir", "/nowhere"], "voc2012 is not at /nowhere"),
            (["--scale", "paper", "--models", "unet_narrow"], "the paper does not train"),
            (["--dataset", "folder", "--data-dir", "/nowhere"], "cannot read /nowhere/classes"),
            (["--precision", "half"], "unknown precision 'half'"),
            (["--class-weights", "bal"], "invalid choice: 'bal' (choose from 'balanced')"),
            (["--image-size", "0"], "0 is not a positive number"),
            (["--train-images", "3"], "3 training images do not fill a batch of 8"),
            (["--weights", "gone.h5"], "no weights file gone.h5"),
            (
                ["--weights", "run=1/gone.h5"],
                "unknown model of --weights 'run'; choose from: unet_n",
            ),
            (["--weights", "/a/run=1/gone.h5"], "no weights file /a/run=1/gone.h5"),
            (
                ["--weights", "unet=gone.h5"],
                "unknown model of --weights 'unet'; choose from: unet_n",
            ),
            (["--weights", "none", "gone.h5"], "--weights has two values for all models"),
            (["--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        ],
    )
    def test_mistakes_end_in_one_line_and_exit_code_2(self, mistake, arguments, message):
        assert message in mistake("table4", *arguments)


@pytest.mark.parametrize("table", ["table4", "table5"])
def test_the_papers_start_is_missed_before_anything_is_trained(script, tmp_path, table):
    _, out, err = script(table, "--scale", "paper", "--data-dir", "/nowhere", "--out", tmp_path)
    assert "start of deeplabv2_multiscale, COCO weights, was not given" in out
    assert "it starts from ImageNet weights; expect less" in out
    assert "is not at /nowhere" in err


def test_table5(script, tmp_path):
    code, out, _ = script("table5", "--losses", "Focal", *SMALL, "--out", tmp_path)
    assert code == 0
    for part in ("Pixel accuracy", "Mean IoU", "Mean accuracy"):
        assert part in out
    assert (tmp_path / "table5.csv").stat().st_size > 100


def results_of(trials, scores, divided=None):
    """Rows as training leaves them, of these mean IoUs."""
    rows = {}
    for trial in trials:
        values = scores.get(trial.loss)
        status = "ok" if values else "non_finite"
        metrics = dict.fromkeys(tables.TITLES, values[trial.run]) if values else {}
        parts = trial.schedule.accumulation
        rows[trial.key] = TrialResult(
            key=trial.key,
            trial={"schedule": {"accumulation": parts}},
            status=status,
            metrics=metrics,
            accumulation=divided or parts,
        )
    return rows


class TestTables:
    def setup_method(self):
        scale = TABLE4_SCALES["paper"]
        self.trials = plan(scale)
        scores = {"CE": [0.5, 0.52, 0.51, 0.5, 0.49], "NGL": [0.55, 0.54, 0.56, 0.55, 0.53]}
        results = results_of(self.trials, scores | {"Focal": [0.4] * 5})
        self.cells = tables.cells(
            self.trials, results, list(tables.TITLES), tables.read_printed("table4")
        )

    def test_cells(self):
        by_place = {(c.model, c.loss, c.measure): c for c in self.cells}
        ngl = by_place["unet", "NGL", "mean_iou"]
        assert (ngl.runs, ngl.paper, ngl.failed) == (5, 52.8, "")
        assert ngl.mean == pytest.approx(54.6)
        assert ngl.difference == pytest.approx(1.8)
        assert ngl.low < 54.6 < ngl.high
        assert ngl.p < 0.01
        dice = by_place["deeplabv2_multiscale", "Dice", "mean_iou"]
        assert (dice.mean, dice.runs, dice.failed, dice.paper) == (None, 0, "5 non_finite", 74.7)
        assert by_place["unet", "NGL", "mean_accuracy"].paper is None

    def test_losses_are_compared_within_a_model_and_measure(self):
        ngl = next(cell for cell in self.cells if cell.loss == "NGL")
        assert ngl.paired.mean == pytest.approx(4.2)
        by_place, overall = tables.comparisons(self.cells)
        # Dice has no network; two losses, two models, three measures.
        assert len(by_place) == 1 + 2 * 2 * 3
        assert by_place[0][:3] == ["model", "loss", "measure"]
        assert [row[2] for row in overall[1:]] == ["2"] * 6
        widths = [len(line) for rows in (by_place, overall) for line in as_text(rows).splitlines()]
        assert max(widths) <= 140

    def test_a_row_without_a_measure_is_left_out(self):
        results = results_of(self.trials, {"CE": [0.5] * 5, "NGL": [0.5, 0.6, 0.7, 0.6, 0.5]})
        lacking = next(trial for trial in self.trials if (trial.loss, trial.run) == ("NGL", 2))
        results[lacking.key].metrics.clear()
        table = tables.cells(self.trials, results, ["mean_iou"], {})
        ngl = next(cell for cell in table if cell.loss == "NGL")
        assert ngl.run_numbers == [0, 1, 3, 4]
        assert ngl.mean == pytest.approx(55.0)

    def test_batches_that_the_recipe_divides_are_not_called_divided(self):
        results = results_of(self.trials, {"CE": [0.5] * 5}, divided=2)
        table = tables.cells(self.trials, results, ["mean_iou"], {})
        divided = {cell.model: cell.divided for cell in table if cell.loss == "CE"}
        assert divided == {"unet": 5, "deeplabv2_multiscale": 0}

    def test_networks_that_ended_on_a_plateau_are_counted(self):
        trials = plan(TABLE4_SCALES["small"], ["CE"])
        rows = results_of(trials, {"CE": [0.3, 0.4, 0.5]})
        rows[trials[0].key].history.extend([{}] * 30)
        rows[trials[1].key].history.extend([{}] * 100)
        (note,) = footnotes.of_plateaus(trials, rows)
        assert "after 10 epochs without a better validation mean IoU" in note
        assert "so did 2 of 3 networks" in note

    def test_rows_of_other_images_are_told(self):
        """The name of CamVid tells no files: they may have changed since the first network."""
        trials = plan(TABLE4_SCALES["small"], ["CE", "NGL"])
        rows = results_of(trials, {"CE": [0.3] * 3, "NGL": [0.4] * 3})
        assert footnotes.of_data(trials, rows) == []
        for trial in trials:
            rows[trial.key] = replace(rows[trial.key], sizes=(367, 101, 233))
        assert footnotes.of_data(trials, rows) == []
        rows[trials[-1].key] = replace(rows[trials[-1].key], sizes=(1400, 101, 233))
        (note,) = footnotes.of_data(trials, rows)
        assert note.startswith(
            "Do not compare the rows of camvid: camvid, unet_narrow, CE at 0.001"
        )
        assert "run 1 had 367 + 101 + 233 images and camvid, unet_narrow, f5 (NGL)" in note
        assert "run 3 had 1,400 + 101 + 233 images (training" in note

    def test_layouts(self):
        table = tables.layout4(self.cells)
        assert [row[0] for row in table] == ["", "U-Net", "DeepLabv2"]
        assert table[0][1:] == ["CE", "Focal", "Dice", "f5 (NGL)"]
        assert table[1][1:] == [
            "50.4 ± 1.4 (50.1)", "40.0 (49.1)", "– (46.1)", "*54.6 ± 1.4 (52.8)",
        ]  # fmt: skip
        table = tables.layout5([cell for cell in self.cells if cell.model == "unet"])
        assert table[0] == ["", "Pixel accuracy", "Mean IoU", "Mean accuracy"]
        assert [row[0] for row in table[1:]] == ["CE", "Focal", "Dice", "f5 (NGL)"]
        assert len(columns_of(self.cells, tables.DETAILS)) == 1 + len(self.cells)
        assert len(frame(self.cells, tables.COLUMNS)) == len(self.cells)

    def test_printed_values_of_table_5(self):
        printed = tables.read_printed("table5")
        assert printed["DeepLabv2", "Dice", "mean_iou"] == 17.3
        assert printed["DeepLabv2", "NGL", "pixel_accuracy"] == 67.8
