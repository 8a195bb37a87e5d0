"""The learning-rate study: which networks it wants, what it concludes, and its script."""

import json
import math
from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest
from conftest import to_numpy

import nglkeras
from nglkeras import losses
from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError
from nglkeras.experiments.classification.protocol import setting_of
from nglkeras.experiments.classification.shared_networks import load_streams
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.learning_rates import protocol, sizes, tables
from nglkeras.experiments.learning_rates.protocol import SCALES
from nglkeras.losses.curves import size_at_uniform
from nglkeras.report import best_rates
from nglkeras.report.rates import FIRST_NEW, MAX_ADDED, next_rate
from nglkeras.runs.trial import TrialResult

DEMO = SCALES["demo"]
CLASSES = 10


def result(trial, accuracy, status="ok"):
    found = None if status != "ok" else accuracy
    tested = {"accuracy": found} if trial.test else {}
    return TrialResult(key=trial.key, trial={}, status=status, validation_accuracy=found, **tested)


def carried_out(scale, names, accuracy):
    """The trials of a whole study, and their rows, if `accuracy(trial)` is what each reaches."""
    trials, results = protocol.plan(scale, names), {}
    stages = 0
    while new := [trial for trial in trials if trial.key not in results]:
        for trial in new:
            found = accuracy(trial)
            results[trial.key] = found if isinstance(found, TrialResult) else result(trial, found)
        trials += protocol.further(scale, trials, results, CLASSES)
        stages += 1
        assert stages < 30
    return trials, results


def peak(best, height=0.95):
    """Accuracy that falls by a tenth with each decade away from the best rate."""
    return lambda trial: height - 0.1 * abs(np.log10(trial.schedule.learning_rate / best))


def rates_of(trials, loss):
    return sorted(
        {t.schedule.learning_rate for t in trials if t.loss == loss and t.run < FIRST_NEW}
    )


class TestPlan:
    def test_every_loss_at_every_rate_of_the_optimizer(self):
        trials = protocol.plan(replace(DEMO, runs=2), ["CE", "NGL"])
        assert len(trials) == 2 * 2 * 6
        assert {trial.schedule.learning_rate for trial in trials} == {
            *(0.01, 0.032, 0.1, 0.32, 1.0, 3.2)
        }
        assert all(not trial.test and trial.compile_once for trial in trials)
        assert {trial.schedule.plateau for trial in trials} == {None}

    def test_no_image_that_is_tested_with_has_chosen_a_rate(self):
        # In table 2 these are divided anew for each run.
        assert setting_of("digits", get_info("digits")).splits == "random"
        tested = []
        for run in (0, 1, FIRST_NEW):
            (trial, *_) = protocol.plan(replace(DEMO, dataset="digits"), ["CE"])
            images = load_streams(replace(trial, run=run, test=True)).test.as_numpy_iterator()
            tested.append({image.tobytes() for batch in images for image in batch[0]})
        assert tested[0] == tested[1] == tested[2]

    @pytest.mark.parametrize(
        ("name", "keras_name", "settings"),
        [("SGD", "SGD", {}), ("momentum", "SGD", {"momentum": 0.9}), ("Adam", "Adam", None)],
    )
    def test_optimizers(self, name, keras_name, settings):
        (trial, *_) = protocol.plan(replace(DEMO, optimizer=name), ["CE"])
        assert trial.schedule.optimizer == keras_name
        assert settings is None or dict(trial.schedule.optimizer_settings) == settings

    def test_a_decay_is_a_field_of_the_schedule_and_keeps_other_keys(self):
        constant, falling = (
            protocol.plan(replace(DEMO, decay=decay), ["CE"])[0] for decay in protocol.DECAYS
        )
        assert (constant.schedule.cosine, falling.schedule.cosine) == (False, True)
        assert falling.key != constant.key
        assert replace(falling, schedule=constant.schedule).key == constant.key

    def test_sum_over_the_classes_where_a_loss_can_be_summed(self):
        by_loss = {t.loss: t.loss_settings for t in protocol.plan(DEMO, losses.rows_of("table2"))}
        assert by_loss["NGL"] == (("class_reduction", "sum"),)
        assert by_loss["CE"] == by_loss["Focal"] == ()

    def test_formulas(self):
        trials = protocol.plan(DEMO, [], formulas={"mine": "-(y_true*log(y_pred))"})
        assert {trial.loss for trial in trials} == {"mine"}
        assert trials[0].loss_settings == (("class_reduction", "sum"),)

    def test_rates_recur_whichever_way_they_are_reached(self):
        rates = [0.01]
        for _ in range(8):
            rates.append(next_rate(rates[-1], up=True))
        assert rates == [0.01, 0.032, 0.1, 0.32, 1.0, 3.2, 10.0, 32.0, 100.0]
        back = [100.0]
        for _ in range(8):
            back.append(next_rate(back[-1], up=False))
        assert back == rates[::-1]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"optimizer": "Lion"}, "unknown optimizer 'Lion'; choose from: SGD, momentum, Adam"),
            ({"precision": "float8"}, "float8"),
            ({"decay": "linear"}, "unknown decay 'linear'; choose from: constant, cosine"),
            ({"decay": "cosine", "evaluate_every": 200}, "needs two or more of them"),
            ({"steps": 100, "evaluate_every": 30}, "100 steps are not a multiple of the 30"),
            ({"rates": (0.1, 1.0)}, "rates 0.1, 1: wanted are at least three different positive"),
            (
                {"rates": (0.1, 0.1, 0.1)},
                "rates 0.1, 0.1, 0.1: wanted are at least three different",
            ),
            ({"runs": 1001}, "1001 runs a rate; the numbers of new runs begin at 1000"),
            ({"rates": (-0.1, 0.1, 1.0)}, "rates -0.1, 0.1, 1: wanted are"),
            ({"rates": (math.nan, 0.1, 1.0)}, "rates nan, 0.1, 1: wanted are"),
            ({"rates": (0.1, 1.0, math.inf)}, "rates 0.1, 1, inf: wanted are"),
            ({"dataset": "nothing"}, "nothing"),
            ({"model": "nothing"}, "nothing"),
        ],
    )
    def test_what_cannot_be_is_refused(self, change, message):
        with pytest.raises(UserError, match=message):
            protocol.plan(replace(DEMO, **change), ["CE"])


def test_without_the_number_of_classes_chance_is_not_known():
    trials, results = carried_out(DEMO, ["CE"], peak(0.1))
    curve = protocol.curves(trials, results, 0)["CE"]
    assert (curve.best, curve.chance) == (0.1, None)


class TestFurther:
    def test_best_rate_in_the_middle_needs_no_more(self):
        trials, _ = carried_out(DEMO, ["CE"], peak(0.1))
        assert len(rates_of(trials, "CE")) == 6
        new = [trial for trial in trials if trial.run >= FIRST_NEW]
        assert len(new) == DEMO.new_runs
        assert {trial.schedule.learning_rate for trial in new} == {0.1}
        assert all(trial.test for trial in new)

    @pytest.mark.parametrize(("best", "ends"), [(32.0, (0.01, 100.0)), (0.001, (0.00032, 3.2))])
    def test_rates_are_added_until_the_best_has_two_neighbours(self, best, ends):
        trials, results = carried_out(DEMO, ["CE"], peak(best))
        rates = rates_of(trials, "CE")
        assert (rates[0], rates[-1]) == ends
        curve = protocol.curves(trials, results, CLASSES)["CE"]
        assert (curve.best, curve.open_ends) == (best, ())

    def test_only_the_loss_at_an_edge_gets_more(self):
        height = {"CE": peak(0.1), "NGL": peak(32.0)}
        trials, _ = carried_out(DEMO, ["CE", "NGL"], lambda t: height[t.loss](t))
        assert len(rates_of(trials, "CE")) == 6
        assert rates_of(trials, "NGL")[-1] == 100.0

    def test_added_rates_have_all_runs(self):
        trials, _ = carried_out(replace(DEMO, runs=3), ["CE"], peak(10.0))
        added = [t.run for t in trials if t.schedule.learning_rate == 32.0]
        assert sorted(added) == [0, 1, 2]

    def test_best_rate_of_a_loss_that_has_learnt_nothing_is_looked_for_at_both_ends(self):
        def accuracy(trial):
            # The accident of 0.12 is no best rate.
            return {0.0032: 0.9, 0.1: 0.12}.get(trial.schedule.learning_rate, 0.1)

        trials, results = carried_out(DEMO, ["CE"], accuracy)
        assert protocol.curves(trials, results, CLASSES)["CE"].best == 0.0032
        assert rates_of(trials, "CE") == [0.001, 0.0032, 0.01, 0.032, 0.1, 0.32, 1.0, 3.2, 10.0]

    def test_it_ends_where_nothing_is_learnt_at_any_rate(self):
        trials, results = carried_out(DEMO, ["CE"], lambda trial: 0.1)
        assert len(rates_of(trials, "CE")) == 6 + 2 * MAX_ADDED
        assert protocol.curves(trials, results, CLASSES)["CE"].open_ends == ("low", "high")

    def test_diverged_networks_are_results_that_count_as_chance(self):
        def accuracy(trial):
            diverges = trial.schedule.learning_rate > 0.1
            return result(trial, 0.0, "non_finite") if diverges else peak(0.1)(trial)

        trials, results = carried_out(replace(DEMO, runs=2), ["CE"], accuracy)
        curve = protocol.curves(trials, results, CLASSES)["CE"]
        assert curve.best == 0.1
        assert curve.diverged == {0.32, 1.0, 3.2}
        assert curve.accuracies[3.2] == pytest.approx(0.1)

    def test_one_diverged_network_of_two_costs_a_rate_half_of_its_accuracy(self):
        def accuracy(trial):
            if trial.schedule.learning_rate == 0.32 and trial.run == 1:
                return result(trial, 0.0, "non_finite")
            return peak(0.32)(trial)

        trials, results = carried_out(replace(DEMO, runs=2), ["CE"], accuracy)
        curve = protocol.curves(trials, results, CLASSES)["CE"]
        assert curve.accuracies[0.32] == pytest.approx((0.95 + 0.1) / 2)
        assert curve.best != 0.32

    def test_lost_networks_do_not_count(self):
        def accuracy(trial):
            lost = trial.schedule.learning_rate == 1.0
            return result(trial, 0.0, "crashed") if lost else peak(0.1)(trial)

        trials, results = carried_out(DEMO, ["CE"], accuracy)
        assert 1.0 not in protocol.curves(trials, results, CLASSES)["CE"].accuracies


@pytest.fixture(scope="module")
def study():
    """NGL is two points better than CE on every seed, Focal differs by noise."""
    noise = dict(enumerate([0.0, 0.011, -0.004, 0.006, 0.002]))

    def accuracy(trial):
        base = peak({"CE": 0.1, "NGL": 1.0, "Focal": 0.1}[trial.loss])(trial)
        run = trial.run % FIRST_NEW
        own = {"CE": 0.0, "NGL": 0.02 + 0.0005 * run, "Focal": (-1) ** run * 0.0001}
        return base + noise[run] + own[trial.loss]

    scale = replace(DEMO, new_runs=5)
    trials, results = carried_out(scale, ["CE", "NGL", "Focal"], accuracy)
    curves = protocol.curves(trials, results, CLASSES)
    factors = sizes.factors(trials, CLASSES)
    table = tables.cells(trials, results, curves, factors)
    return {cell.loss: cell for cell in table}, curves, trials, results


class TestTable:
    def test_differences_are_of_pairs(self, study):
        cells = study[0]
        assert cells["NGL"].paired.mean == pytest.approx(2.1)
        # The runs differ by far more than the pairs do.
        assert cells["NGL"].paired.high - cells["NGL"].paired.low < 0.3
        assert cells["NGL"].shown == "better"
        assert cells["NGL"].p_better > 0.9

    def test_noise_within_the_band_is_equivalent(self, study):
        assert study[0]["Focal"].shown == "equivalent"
        assert study[0]["CE"].shown == ""

    def test_p_is_corrected_for_the_number_of_losses(self, study):
        cells = study[0]
        assert cells["NGL"].p_holm == pytest.approx(2 * cells["NGL"].paired.p)

    def test_rate_in_terms_of_cross_entropy(self, study):
        cell = study[0]["NGL"]
        assert cell.rate == 1.0
        assert cell.rate_seen == pytest.approx(cell.factor)

    def test_a_seed_that_cross_entropy_lost_is_no_pair(self, study):
        _, curves, trials, results = study
        lost = next(t for t in trials if t.loss == "CE" and t.run == FIRST_NEW + 1)
        results = results | {lost.key: result(lost, 0.0, "crashed")}
        cells = tables.cells(trials, results, curves, dict.fromkeys(curves, 1.0))
        assert [cell.runs for cell in cells] == [4, 5, 5]
        assert [len(cell.pairs[0]) for cell in cells[1:]] == [4, 4]
        assert cells[0].failed == "1 crashed"

    def test_layouts(self, study):
        cells, curves, trials, results = study
        heading, *lines = best_rates.layout(list(cells.values()))
        assert all(len(line) == len(heading) for line in lines)
        heading, *lines = best_rates.curve_layout(curves)
        marked = [text for line in lines for text in line if text.endswith("*")]
        assert len(marked) == 3
        frame = tables.to_frame(trials, results, dict.fromkeys(curves, 1.0))
        assert len(frame) == len(trials)
        assert frame.test_accuracy.notna().sum() == 15


class TestHiddenFactor:
    @pytest.mark.parametrize(
        ("name", "expected"),
        # Of a uniform prediction p = 1/10, from the formulas by hand: Baikal's derivative is
        # -1/p - t/p^2 by each class, CE's -t/p.
        [("CE", 1.0), ("Baikal", 10.0)],
    )
    def test_known_ratios(self, name, expected):
        settings = {"class_reduction": "sum"} if name == "Baikal" else {}
        ratio = size_at_uniform(losses.get(name, **settings), 10)
        assert ratio / size_at_uniform(losses.get("CE"), 10) == pytest.approx(expected, rel=1e-4)

    def test_length_for_cross_entropy_is_that_of_p_less_t(self):
        expected = np.linalg.norm(np.full(4, 0.25) - np.eye(4)[0])
        assert size_at_uniform(losses.get("CE"), 4) == pytest.approx(expected, rel=1e-5)

    def test_agrees_with_differences_of_values(self):
        loss = losses.get("NGL", class_reduction="sum")

        def value(logits):
            e = np.exp(logits - logits.max())
            p = (e / e.sum()).astype("float32")
            return float(to_numpy(loss.call(np.eye(5, dtype="float32")[:1], p[None]))[0])

        step = 0.05
        gradient = [(value(step * e) - value(-step * e)) / (2 * step) for e in np.eye(5)]
        assert size_at_uniform(loss, 5) == pytest.approx(np.linalg.norm(gradient), rel=1e-2)


SHORT = ("--losses", "CE", "NGL", "--steps", 20, "--evaluate-every", 10, "--new-runs", 2)


class TestScript:
    def test_study_resumes_and_prints_the_same(self, script, tmp_path):
        options = (*SHORT, "--model", "head", "--out", tmp_path)
        code, first, err = script("learning_rates", *options)
        assert code == 0, err
        journal = tmp_path / "journal.jsonl"
        rows = journal.read_text()
        code, second, err = script("learning_rates", *options)
        assert code == 0, err
        assert journal.read_text() == rows
        assert second[second.index("Each loss") :] == first[first.index("Each loss") :]
        # An interrupted study goes on.
        journal.write_text("".join(rows.splitlines(keepends=True)[:5]))
        assert script("learning_rates", *options)[0] == 0
        fields = [json.loads(line) for line in journal.read_text().splitlines()]
        assert len({row["key"] for row in fields}) == len(fields) == rows.count("\n")
        frame = pd.read_csv(tmp_path / "digits_head_SGD_20.csv")
        assert set(frame.loss) == {"CE", "NGL"}
        assert (tmp_path / "digits_head_SGD_20.png").is_file()
        assert "with other model" in second

    def test_a_folder_of_another_backend_is_printed_but_not_gone_on_with(self, script, tmp_path):
        options = (*SHORT, "--model", "head", "--losses", "CE", "--out", tmp_path)
        assert script("learning_rates", *options)[0] == 0
        ours = nglkeras.training.devices.backend()
        other = "torch" if ours != "torch" else "jax"
        journal = tmp_path / "journal.jsonl"
        moved = []
        for line in journal.read_text().splitlines():
            row = json.loads(line)
            row["trial"]["backend"] = other
            moved.append(json.dumps(row | {"key": msgspec.convert(row["trial"], Trial).key}))
        journal.write_text("\n".join(moved) + "\n")
        code, out, _ = script("learning_rates", *options)
        assert code == 0
        assert "trained by Keras on" in out or other == "tensorflow"
        assert len(journal.read_text().splitlines()) == len(moved)
        journal.write_text("\n".join(moved[:3]) + "\n")
        code, _, err = script("learning_rates", *options)
        assert code == 2
        assert f"set KERAS_BACKEND={other} to go on" in err

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--optimizer", "sgd"), "unknown optimizer 'sgd'"),
            (("--rates", "0.1,x"), "0.1,x is not a list of numbers"),
            (("--rates", "0.1"), "at least three different positive numbers"),
            (("--losses", "nothing"), "nothing"),
            (("--steps", "30", "--evaluate-every", "20"), "30 steps are not a multiple"),
            (("--scale", "nothing"), "nothing"),
        ],
    )
    def test_mistakes(self, mistake, options, message):
        assert message in mistake("learning_rates", *options)
