"""Confirmations: which networks they want, what they conclude, and what survives a kill."""

import json
import re
import time
import types
import zlib
from dataclasses import replace

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

import nglkeras
from nglkeras import losses
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.report.rates import FIRST_NEW
from nglkeras.runs import status
from nglkeras.search import Measured, Result, Trainer, TrainingFitness, confirm, search
from nglkeras.search.budget import Plan, affordable, fitting
from nglkeras.search.evolution import GeneticProgramming
from nglkeras.search.fitness import as_fitness
from nglkeras.search.given_losses import as_keras, as_loss, formula_of, identity, named
from nglkeras.search.screening import with_checks
from nglkeras.search.simplification import simplified
from nglkeras.search.trainer import as_measured

MINE, OTHER = "y_pred - y_true", "y_true*y_pred - y_true"


TRIED = types.SimpleNamespace(name="NGL", run=0)
TESTED = types.SimpleNamespace(name="NGL", run=FIRST_NEW)


class TestWhatATrainerGives:
    def test_numbers_of_any_kind(self):
        given = Measured("ok", np.float32(0.5), np.float64(0.25), parts=np.ones(2))
        found = as_measured(given, TESTED)
        assert json.dumps([found.validation, found.test, found.parts]) == "[0.5, 0.25, [1.0, 1.0]]"

    @pytest.mark.parametrize("values", [(np.nan, 0.9), (0.9, np.nan), (np.inf, 0.9)])
    def test_a_measure_that_is_not_finite(self, values):
        found = as_measured(Measured("ok", *values, seconds=2.0), TESTED)
        assert (found.status, found.validation, found.test) == ("non_finite", None, None)
        assert (found.seconds, "not finite" in found.message) == (2.0, True)

    @pytest.mark.parametrize(
        ("given", "network", "message"),
        [
            (0.9, TRIED, "the trainer gave 0.9 for NGL, not a Measured"),
            (Measured("finished", 0.9), TRIED, "unknown status of a Measured 'finished'; .*: ok,"),
            (Measured("ok"), TRIED, "the trainer gave no validation for NGL"),
            (Measured("ok", 0.9), TESTED, "the trainer gave no test for NGL"),
            (Measured("ok", "x"), TRIED, "what the trainer gave is no number: .*'x'"),
        ],
    )
    def test_mistakes(self, given, network, message):
        with pytest.raises(UserError, match=message):
            as_measured(given, network)

    def test_a_network_without_a_test_that_did_not_end_well(self):
        assert as_measured(Measured("exploded"), TESTED).status == "exploded"

    def test_seconds_that_it_does_not_tell_are_measured(self, tmp_path):
        """Otherwise `minutes` would allow any number of networks."""

        class Mute(Told):
            def __call__(self, *loss, **network):
                time.sleep(0.05)
                return replace(super().__call__(*loss, **network), seconds=0.0)

        made = told({"mine": MINE}, Mute({"CE": 0.9, "mine": 0.9}), tmp_path, minutes=0.5 / 60)
        assert made.verdict == "not settled"
        assert "It takes at least" in str(made)
        assert all(network.seconds > 0.04 for network in made.networks().itertuples())


class Told(Trainer):
    """A trainer without networks: accuracy falls by 10 points a decade from each best rate.

    Args:
        heights: Accuracy of each loss at its best rate.
        peaks: Best rates; by default that of the search.
        bad: Status by the name of a loss: its new runs end with it.
        stop: Networks after which it is interrupted.
        seconds: Of each network.
        lucky: Name of a loss that is five points better on the test data.
        flat: Name of a loss, and its accuracy at all rates but its best one, where it has a little
            more.
        parts: Returns the accuracies on parts of the test data, given the loss's name and that on
            all.
    """

    rate, chance = 0.01, 0.1

    def __init__(
        self,
        heights,
        peaks=None,
        bad=None,
        stop=None,
        seconds=1.0,
        lucky="",
        flat=("", 0),
        parts=lambda name, tested: (),
    ):
        self.heights, self.peaks, self.bad = heights, peaks or {}, bad or {}
        self.lucky, self.flat, self.parts = lucky, flat, parts
        self.stop, self.seconds, self.seen = stop, seconds, []

    settings = {"trainer": "told"}  # noqa: RUF012 - in the place of a property

    def __call__(self, name, loss, *, learning_rate, run):
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append((name, learning_rate, run))
        status = self.bad.get(name, "ok") if run >= FIRST_NEW else "ok"
        if status != "ok":
            return Measured(status, seconds=self.seconds)
        # Runs differ by far more than losses do within a run.
        noise = np.random.default_rng(run).normal() * 0.01
        own = np.random.default_rng(zlib.crc32(f"{name} {run}".encode())).normal() * 0.0005
        decades = abs(np.log10(learning_rate / self.peaks.get(name, self.rate)))
        height = self.heights.get(name, 0.5) - 0.1 * decades
        if name == self.flat[0]:
            height = self.flat[1] + 0.01 * (decades == 0)
        value = height + noise + own
        tested = value + 0.05 * (name == self.lucky) if run >= FIRST_NEW else None
        parts = () if tested is None else self.parts(name, tested)
        return Measured("ok", value, tested, self.seconds, parts=parts)


def told(found, trainer, out, **settings):
    return confirm(found, trainer, out=out, **{"contenders": (), "quiet": True, **settings})


class TestVerdict:
    @pytest.mark.parametrize(
        ("mine", "verdict"),
        [(0.95, "yes"), (0.85, "no"), (0.9, "no")],
        ids=["more", "less", "same"],
    )
    def test_is_about_the_difference_to_cross_entropy(self, mine, verdict, tmp_path):
        made = told({"mine": MINE}, Told({"CE": 0.9, "mine": mine}), tmp_path)
        assert made.verdict == verdict
        assert f"mine: better than cross entropy at its own best rate: {verdict} (" in str(made)
        assert made.cells["mine"].paired.mean == pytest.approx(100 * (mine - 0.9), abs=0.1)

    def test_the_same_loss_is_not_better(self, tmp_path):
        trainer = Told({})
        trainer.key = lambda network: f"{network.learning_rate} {network.run}"
        made = told({"mine": "CategoricalCrossentropy"}, trainer, tmp_path)
        assert made.verdict == "no"
        assert "mine reaches in every run what CE reaches." in str(made)

    def test_losses_that_diverge_are_not_the_same(self, tmp_path):
        bad = {"CE": "non_finite", "mine": "exploded"}
        made = told({"mine": MINE}, Told({"CE": 0.9, "mine": 0.9}, bad=bad), tmp_path)
        assert made.verdict == "not settled"
        assert "Every new run of mine and of CE diverged." in str(made)

    @pytest.mark.parametrize("parts", [False, True])
    def test_of_a_measure_that_is_no_share_nothing_is_equivalent(self, parts, tmp_path):
        """An error of 0.1 % that nothing improves: half a point would be all of it."""
        trainer = Told({"CE": -0.001, "mine": -0.001})
        if parts:
            trainer.parts = lambda name, tested: tested + np.linspace(-1e-3, 1e-3, 10)
        trainer.chance, trainer.measure, trainer.is_share = None, "the negative error", False
        made = told({"mine": MINE}, trainer, tmp_path)
        assert made.verdict == "not settled"
        assert "not settled (100 x the negative error -0." in made.sentence
        assert "%" not in made.sentence.replace("95 % interval", "")
        for text in (str(made), made.to_markdown(), made._repr_html_()):
            assert "none is called equivalent" in text
            assert "test %" not in text
        axes = made.figure().axes
        assert {"validation 100 x the negative error"} == {axes[0].get_ylabel()}
        # Its values show it, where the trainer does not say so.
        trainer.is_share = True
        assert told({"mine": MINE}, trainer, tmp_path).verdict == "not settled"

    def test_another_best_rate_is_no_merit(self, tmp_path):
        """At the search's own rate it is ten points better than cross entropy."""
        trainer = Told({"CE": 0.9, "mine": 0.9}, {"CE": 0.1})
        made = told({"mine": MINE}, trainer, tmp_path)
        assert (made.curves["CE"].best, made.curves["mine"].best) == (0.1, 0.01)
        assert made.verdict == "no"

    def test_best_candidate_is_chosen_by_validation_before_the_new_runs(self, tmp_path):
        trainer = Told({"CE": 0.9, "a": 0.93, "b": 0.95}, lucky="a")
        made = told({"a": MINE, "b": OTHER}, trainer, tmp_path)
        assert made.cells["a"].mean > made.cells["b"].mean
        assert (made.best, made.verdict) == ("b", "yes")
        assert made.cells["b"].p_holm >= made.cells["b"].p_paired

    def test_p_is_corrected_for_all_losses(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.9005, "NGL": 0.6, "Baikal": 0.6})
        made = told({"mine": MINE}, trainer, tmp_path, contenders=("NGL", "Baikal"))
        others = [made.cells[name].p_paired for name in ("NGL", "Baikal")]
        adjusted = [made.cells[name].p_holm for name in ("NGL", "Baikal")]
        assert min(adjusted) == pytest.approx(3 * min(others), abs=0)
        assert made.cells["mine"].p_holm >= made.cells["mine"].p_paired

    def test_what_is_better_on_a_part_of_the_test_data_is_not_settled(self, tmp_path):
        """Each run says the same: it is the test data that differ."""

        def parts(name, tested):
            return tested + np.linspace(-0.3, 0.3, 10) * (name == "mine")

        heights = {"CE": 0.9, "mine": 0.93}
        assert told({"mine": MINE}, Told(heights), tmp_path / "whole").verdict == "yes"
        made = told({"mine": MINE}, Told(heights, parts=parts), tmp_path / "parts")
        assert made.verdict == "not settled"
        assert made.cells["mine"].paired.mean == pytest.approx(3, abs=0.1)
        assert made.cells["mine"].paired.low < -8
        again = told({"mine": MINE}, Told(heights, stop=0), tmp_path / "parts")
        assert str(again) == str(made)

    def test_the_parts_of_a_total_tell_what_those_of_a_mean_do(self, tmp_path):
        """A cost of all test data is ten times that of a tenth of them."""
        found = []
        for size in (1, 10):

            def parts(name, tested, size=size):
                noise = np.random.default_rng(len(name)).normal(size=10)
                return (tested + 0.02 * (noise - noise.mean())) / size

            trainer = Told({"CE": 0.9, "mine": 0.91}, parts=parts)
            found.append(told({"mine": MINE}, trainer, tmp_path / str(size)).cells["mine"])
        mean, total = found
        assert mean.paired.low < 0 < mean.paired.high
        assert total.paired.low == pytest.approx(mean.paired.low)
        assert total.p_holm == pytest.approx(mean.p_holm)

    def test_parts_that_cannot_be_measured_are_left_out(self, tmp_path):
        def parts(name, tested):
            # The measure of all test data need not be the mean over parts.
            return [tested / 2, np.nan, tested / 2]

        trainer = Told({"CE": 0.9, "mine": 0.95}, parts=parts)
        made = told({"mine": MINE}, trainer, tmp_path)
        assert np.shape(made.cells["mine"].parts) == (10, 2)
        assert made.verdict == "yes"
        cell = made.cells["mine"]
        assert cell.paired.mean == pytest.approx(5, abs=0.1)
        assert cell.paired_interval[0] < cell.paired.mean < cell.paired_interval[1]
        assert cell.paired.low < cell.paired.mean < cell.paired.high

    def test_a_network_that_diverged_is_a_guess(self, tmp_path):
        trainer = Told(
            {"CE": 0.9, "mine": 0.95},
            bad={"mine": "non_finite"},
            parts=lambda name, tested: [tested, tested - 0.01],
        )
        made = told({"mine": MINE}, trainer, tmp_path)
        reference = np.array(made.cells["CE"].values)
        assert np.array(made.cells["mine"].parts)[:, 0] == pytest.approx(10 - reference)
        assert set(made.cells["mine"].values) == {10.0}
        assert made.verdict == "no"
        assert "10 non_finite" in str(made)

    @pytest.mark.parametrize("first", [0, 3])
    def test_where_no_guess_is_known_cross_entropy_has_none(self, first, tmp_path):
        """Otherwise the least that any loss has reached would stand for it."""

        class Diverged(Told):
            def __call__(self, name, loss, *, learning_rate, run):
                found = super().__call__(name, loss, learning_rate=learning_rate, run=run)
                is_lost = name == "CE" and run >= FIRST_NEW + first
                return Measured("non_finite") if is_lost else found

        trainer = Diverged({"CE": 0.9, "mine": 0.85}, parts=lambda name, tested: [tested] * 4)
        trainer.chance = None
        made = told({"mine": MINE}, trainer, tmp_path)
        assert f"CE diverged in {10 - first} of its new runs. Their pairs are left" in str(made)
        assert "known from 4 parts of these" in str(made)
        # Those that are left are the pairs in which cross entropy did well.
        assert made.verdict == "not settled"
        if first:
            assert len(made.cells["mine"].pairs[0]) == len(made.cells["mine"].parts) == first
            assert made.cells["mine"].shown == "worse"
        else:
            assert made.cells["mine"].pairs is None

    def test_the_sentence_has_the_means_of_the_pairs(self, tmp_path):
        """Those of all runs may differ the other way."""

        class Crashed(Told):
            def __call__(self, name, loss, *, learning_rate, run):
                found = super().__call__(name, loss, learning_rate=learning_rate, run=run)
                return Measured("crashed") if name == "CE" and run > FIRST_NEW else found

        said = str(told({"mine": MINE}, Crashed({"CE": 0.9, "mine": 0.95}), tmp_path))
        means = re.search(r"accuracy (\S+) % against (\S+) %, (\S+) points, 1 new run\)", said)
        mean, reference, difference = map(float, means.groups())
        assert difference == pytest.approx(mean - reference, abs=0.011)

    def test_what_a_network_that_was_stopped_has_reached_does_not_count(self, tmp_path):
        class Stopped(Told):
            def __call__(self, name, loss, *, learning_rate, run):
                found = super().__call__(name, loss, learning_rate=learning_rate, run=run)
                return replace(found, status="timeout") if (name, run) == last else found

        last = "mine", FIRST_NEW + 2
        made = told(
            {"mine": MINE},
            Stopped({"CE": 0.9, "mine": 0.95}, parts=lambda name, tested: [tested, tested]),
            tmp_path,
        )
        assert len(made.cells["CE"].values) == 10
        assert len(made.cells["mine"].values) == len(made.cells["mine"].parts) == 9
        assert made.verdict == "yes"

    @pytest.mark.parametrize("lost", ["CE", "mine"])
    def test_without_new_runs_nothing_is_settled(self, lost, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.95}, bad={lost: "crashed"})
        made = told({"mine": MINE}, trainer, tmp_path)
        assert made.verdict == "not settled"
        assert f"No new run of {lost} came to its end: 10 crashed." in made.notes

    def test_cross_entropy_at_an_edge_is_not_at_its_best(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.99}, {"CE": 0.3})
        made = told({"mine": MINE}, trainer, tmp_path, max_added=0)
        assert made.verdict == "not settled"
        assert "The best rate of CE lies at the edge" in str(made)
        assert told({"mine": MINE}, trainer, tmp_path).verdict == "yes"

    def test_a_loss_at_an_edge_is_not_at_its_best_either(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.97}, {"mine": 100.0})
        made = told({"mine": MINE}, trainer, tmp_path, max_added=1)
        assert made.verdict == "not settled"
        assert "The best rate of mine lies at the edge" in str(made)
        assert told({"mine": MINE}, trainer, tmp_path, max_added=8).verdict == "yes"

    def test_cross_entropy_that_has_learnt_nothing_may_lack_its_rate(self, tmp_path):
        """It is flat below 0.2, twice as good as chance, at the rates of the search."""
        trainer = Told({"mine": 0.9}, {"CE": 0.01}, flat=("CE", 0.15))
        made = told({"mine": MINE}, trainer, tmp_path, max_added=2)
        assert not made.curves["CE"].edges
        assert made.verdict == "not settled"
        assert "CE has learnt nothing at its rates, and further ones were not tried." in made.notes
        assert told({"mine": MINE}, trainer, tmp_path).verdict == "yes"


class TestNetworks:
    def test_rates_then_new_runs_of_the_best(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.9}, {"mine": 0.1})
        told({"mine": MINE}, trainer, tmp_path, rate_runs=2, new_runs=6)
        rates = {}
        for name, rate, run in trainer.seen:
            rates.setdefault((name, run >= FIRST_NEW), set()).add((rate, run))
        assert {rate for rate, _ in rates["CE", False]} == {0.001, 0.0032, 0.01, 0.032, 0.1}
        # The best rate of the other one was at the edge.
        assert {rate for rate, _ in rates["mine", False]} == {0.001, 0.0032, 0.01, 0.032, 0.1, 0.32}
        assert {run for _, run in rates["mine", False]} == {0, 1}
        new = {FIRST_NEW + i for i in range(6)}
        assert rates["CE", True] == {(0.01, run) for run in new}
        assert rates["mine", True] == {(0.1, run) for run in new}

    @pytest.mark.parametrize(
        ("seeds", "candidates"),
        [
            (["CE", "-3.1*(y_true*log(y_pred))", "NGL"], ("0-2",)),
            (["CE", "-3.1*(y_true*log(y_pred))"], ("0-0",)),
        ],
    )
    def test_cross_entropy_is_no_candidate_beside_others(self, seeds, candidates, tmp_path):
        strategy = GeneticProgramming(0, population_size=len(seeds), generations=0)
        # The smaller is better.
        result = search(strategy, lambda e: -e.size, out=tmp_path, seeds=seeds, quiet=True)
        made = confirm(result, Told({}), out=tmp_path, best=1, contenders=[], quiet=True)
        assert made.candidates == candidates

    def test_cross_entropy_is_always_among_them(self, tmp_path):
        made = told([MINE], Told({}), tmp_path, contenders=["ngl", "GeneralizedCrossentropy"])
        assert list(made.cells) == [MINE, "CE", "NGL", "GeneralizedCrossentropy"]

    def test_one_loss_under_two_names_is_trained_once(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.9})
        made = told({"mine": MINE}, trainer, tmp_path, contenders={"again": MINE})
        assert made.cells["mine"].mean == made.cells["again"].mean
        assert {name for name, *_ in trainer.seen} == {"CE", "mine"}

    def test_a_contender_that_the_search_began_with_is_trained_once(self, tmp_path):
        strategy = GeneticProgramming(0, population_size=1, generations=0)
        result = search(strategy, lambda e: 1.0, out=tmp_path, seeds=["NGL"], quiet=True)
        made = confirm(result, trainer := Told({}), out=tmp_path, quiet=True)
        assert list(made.cells) == ["0-0", "CE", "Baikal"]
        assert {name for name, *_ in trainer.seen} == {"0-0", "CE", "Baikal"}
        assert "NGL is the candidate 0-0." in str(made)

    @pytest.mark.parametrize("stop", [3, 14, 25])
    @pytest.mark.parametrize("minutes", [None, 0.5])
    def test_goes_on_after_an_interruption(self, stop, minutes, tmp_path):
        heights = {"CE": 0.9, "mine": 0.93}
        settings = {"minutes": minutes, "rate_runs": 1}
        whole, part, rest = Told(heights), Told(heights, stop=stop), Told(heights)
        told({"mine": MINE}, whole, tmp_path / "a", **settings)
        with pytest.raises(KeyboardInterrupt):
            told({"mine": MINE}, part, tmp_path / "b", **settings)
        made = told({"mine": MINE}, rest, tmp_path / "b", **settings)
        journals = [(tmp_path / name / "confirm.jsonl").read_text() for name in "ab"]
        assert journals[0] == journals[1]
        assert part.seen + rest.seen == whole.seen
        assert str(told({"mine": MINE}, Told(heights, stop=0), tmp_path / "a", **settings)) == str(
            made
        )

    def test_rows_of_another_training_are_not_taken(self, tmp_path):
        other = Told({"CE": 0.5})
        other.settings = {"trainer": "another"}
        told([MINE], other, tmp_path)
        trainer = Told({"CE": 0.9})
        made = told([MINE], trainer, tmp_path)
        assert len(trainer.seen) == len(other.seen)
        assert made.cells["CE"].mean > 80

    def test_status_says_what_is_done(self, tmp_path):
        told({"mine": MINE}, Told({}, bad={"mine": "crashed"}), tmp_path, new_runs=3)
        (journal,) = status.find(tmp_path)
        said = status.describe(status.read(journal))
        assert "confirm.jsonl: 23 ok, 3 crashed; 0:00:26 of training" in said
        assert "mine at 0.01, run 1002: crashed" in said

    def test_a_crashed_network_is_tried_again(self, tmp_path):
        told({"mine": MINE}, Told({"CE": 0.9}, bad={"mine": "crashed"}), tmp_path, new_runs=3)
        trainer = Told({"CE": 0.9})
        told({"mine": MINE}, trainer, tmp_path, new_runs=3)
        assert [name for name, *_ in trainer.seen] == ["mine"] * 3


PLAN = Plan(("a", "b"), ("CE", "NGL", "Baikal"), (1.0, 2.0, 3.0, 4.0, 5.0), 2, 10)


class TestBudget:
    @pytest.mark.parametrize(
        ("networks", "left", "said"),
        [
            (100, PLAN, ""),
            (99, {"new_runs": 9}, "9 new runs instead of 10"),
            (75, {"new_runs": 5}, "5 new runs instead of 10"),
            (74, {"contenders": ("CE", "NGL"), "new_runs": 8}, "8 new runs instead of 10, without"),
            (45, {"contenders": ("CE",), "new_runs": 5}, "5 new runs instead of 10, without NGL"),
            (40, {"candidates": ("a",), "new_runs": 10}, "without b, NGL, Baikal."),
            (25, {"rate_runs": 1, "new_runs": 7}, "1 network a rate instead of 2."),
            (1, {"rate_runs": 1, "candidates": ("a",), "new_runs": 5}, "5 new runs"),
        ],
    )
    def test_new_runs_are_cut_first_then_contenders_then_candidates(self, networks, left, said):
        plan, notes = fitting(PLAN, 2.0, 2.0 * networks)
        assert said in " ".join(notes)
        assert (plan == PLAN) == (not notes)
        if isinstance(left, dict):
            assert {name: getattr(plan, name) for name in left} == left

    def test_rates_that_took_longer_cost_new_runs(self, tmp_path):
        assert affordable(PLAN, 1.0, 35.0, rates_done=True) == 7
        assert affordable(PLAN, 1.0, 5.0, rates_done=True) == 5
        trainer = Told({"CE": 0.9, "mine": 0.9}, {"CE": 0.1, "mine": 0.1})
        made = told({"mine": MINE}, trainer, tmp_path, rate_runs=1, minutes=0.5)
        assert made.cells["CE"].runs == 9
        assert len(trainer.seen) <= 30
        assert "9 new runs: the rates took longer than expected." in made.notes

    def test_rates_are_added_while_there_is_time(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.9}, {"CE": 1.0, "mine": 1.0})
        made = told({"mine": MINE}, trainer, tmp_path, rate_runs=1, minutes=20 / 60)
        assert len(trainer.seen) == 20
        assert made.curves["CE"].edges == ("high",)
        assert "No time was left to add rates where a best one lies at an edge." in made.notes
        made = told({"mine": MINE}, trainer, tmp_path, rate_runs=1, minutes=22 / 60)
        assert made.curves["CE"].best == 0.32

    def test_a_budget_that_is_too_small_trains_nothing_and_says_so(self, tmp_path):
        trainer = Told({"CE": 0.9, "mine": 0.9}, seconds=60.0)
        made = told({"mine": MINE}, trainer, tmp_path, minutes=10)
        assert len(trainer.seen) == 2
        assert made.verdict == "not settled"
        assert "It takes at least 0:20:00; 0:10:00 were given." in str(made)


@pytest.mark.parametrize("given", [MINE, Expression.parse(MINE), nglkeras.losses.NGL()])
def test_one_loss_needs_no_list(given):
    assert len(named(given)) == 1


@pytest.mark.parametrize("rates", [0.01, np.float64(0.5), True])
def test_a_rate_is_no_number_of_rates(rates, tmp_path):
    with pytest.raises(UserError, match="rates"):
        confirm({"m": MINE}, Told({}), out=tmp_path, rates=rates, quiet=True)


def test_a_network_that_cannot_be_measured_is_no_result(tmp_path):
    class Unlucky(Told):
        def __call__(self, name, loss, *, learning_rate, run):
            found = super().__call__(name, loss, learning_rate=learning_rate, run=run)
            is_lost = name == "m" and run == FIRST_NEW
            return replace(found, test=np.nan) if is_lost else found

    one, again = (
        confirm({"m": MINE}, Unlucky({"m": 0.9, "CE": 0.8}), out=tmp_path, quiet=True)
        for _ in range(2)
    )
    assert str(one) == str(again)
    rows = [row for row in one.rows if row["status"] == "non_finite"]
    assert [(row["loss"], row["run"], row["test"]) for row in rows] == [("m", FIRST_NEW, None)]


class TestFiles:
    def test_a_damaged_best_json_is_told_before_anything_is_trained(self, tmp_path):
        (tmp_path / "best.json").write_text('{"formula": "-(y')
        trainer = Told({})
        with pytest.raises(UserError, match=r"cannot read .*best.json: .*; mend or remove it"):
            confirm({"m": MINE}, trainer, out=tmp_path, quiet=True)
        assert not trainer.seen

    def test_what_the_search_has_written_meanwhile_stays(self, tmp_path):
        path = tmp_path / "best.json"
        nglkeras.losses.save_loss(path, MINE, generation=1)

        class Meanwhile(Told):
            def __call__(self, *network, **settings):
                nglkeras.losses.save_loss(path, MINE, generation=6, ending="all 6 generations")
                return super().__call__(*network, **settings)

        told({"a": MINE}, Meanwhile({"CE": 0.9, "a": 0.95}), tmp_path)
        content = json.loads(path.read_text())
        assert (content["generation"], content["ending"]) == (6, "all 6 generations")
        assert content["confirmation"]["verdict"] == "yes"

    def test_what_stands_below_the_section_stays(self, tmp_path):
        path, notes = tmp_path / "best.md", "\n## My notes\n\nhours of thought\n"
        confirm({"m": MINE}, Told({"m": 0.9}), out=tmp_path, quiet=True)
        text = path.read_text()
        path.write_text(text + notes)
        confirm({"m": MINE}, Told({"m": 0.9}), out=tmp_path, quiet=True)
        assert path.read_text() == text + notes

    def test_it_stays_until_the_search_goes_on(self, tmp_path):
        def found(generations):
            strategy = GeneticProgramming(0, population_size=4, generations=generations)
            return search(strategy, lambda e: 1.0 / e.size, out=tmp_path, quiet=True)

        path = tmp_path / "best.json"
        confirm(found(1), Told({}), out=tmp_path, contenders=(), quiet=True)
        before = path.read_bytes()
        assert b"confirmation" in before
        found(1)
        assert path.read_bytes() == before
        found(2)
        after = json.loads(path.read_bytes())
        assert after["generation"] == 2
        assert "confirmation" not in after

    def test_that_of_a_longer_search_stays(self, tmp_path, capsys):
        def found(generations):
            strategy = GeneticProgramming(0, population_size=4, generations=generations)
            return search(strategy, lambda e: 1.0 / e.size, out=tmp_path, quiet=True)

        found(3)
        before = (tmp_path / "best.json").read_bytes()
        shorter, line = found(1), "best.json stays that of the search to generation 3"
        for quiet in (True, False):
            made = confirm(shorter, Told({}), out=tmp_path, contenders=(), quiet=quiet)
            assert (line in capsys.readouterr().out) == (not quiet)
        assert (tmp_path / "best.json").read_bytes() == before
        assert made.to_markdown() in (tmp_path / "best.md").read_text()

    def test_an_interrupted_search_has_not_ended_with_it(self, tmp_path):
        def stop(generation):
            if generation.number == 1:
                raise KeyboardInterrupt

        strategy = GeneticProgramming(0, population_size=4, generations=5)
        with pytest.raises(KeyboardInterrupt):
            search(strategy, lambda e: 1.0 / e.size, out=tmp_path, quiet=True, on_generation=stop)
        before = Result.load(tmp_path)
        assert before.ending
        confirm(before, Told({}), out=tmp_path, contenders=(), quiet=True)
        assert Result.load(tmp_path).ending == before.ending

    def test_best_json_and_best_md(self, tmp_path):
        (tmp_path / "best.md").write_text("# Mine\n")
        nglkeras.losses.save_loss(tmp_path / "best.json", MINE, simplified=MINE, generation=3)
        for _ in range(2):
            told({"a": MINE, "b": OTHER}, Told({"CE": 0.9, "b": 0.95}), tmp_path)
        content = json.loads((tmp_path / "best.json").read_text())
        assert content["confirmation"]["verdict"] == "yes"
        assert [line["loss"] for line in content["confirmation"]["losses"]] == ["a", "b", "CE"]
        assert nglkeras.load_loss(tmp_path / "best.json").formula == OTHER
        assert content["simplified"] == str(simplified(Expression.parse(OTHER)))
        assert (content["id"], content["generation"]) == ("b", 3)
        text = (tmp_path / "best.md").read_text()
        assert text.startswith("# Mine\n\n## Is the winner better?\n\n**b: better than")
        assert text.count("Is the winner better?") == 1

    @pytest.mark.parametrize(
        ("loss", "settings", "best"),
        [
            (keras.losses.CategoricalHinge(), {}, "second"),
            (OTHER, {"minutes": 0.1}, ""),
        ],
        ids=["no formula", "no time"],
    )
    def test_an_earlier_result_does_not_stay(self, loss, settings, best, tmp_path):
        told({"first": MINE}, Told({"CE": 0.9, "first": 0.95}), tmp_path)
        trainer = Told({"CE": 0.9, "second": 0.95})
        made = told({"second": loss}, trainer, tmp_path, **settings)
        content = json.loads((tmp_path / "best.json").read_text())
        assert content["confirmation"] == json.loads(json.dumps(made.to_json()))
        assert content["confirmation"]["best"] == best
        assert nglkeras.load_loss(tmp_path / "best.json").formula == MINE

    def test_keras_losses_are_confirmed_too(self, tmp_path):
        loss = keras.losses.CategoricalHinge()
        made = told({"hinge": loss}, Told({"CE": 0.9, "hinge": 0.95}), tmp_path)
        assert made.verdict == "yes"
        assert not (tmp_path / "best.json").exists()

    def test_shown_in_a_notebook_as_a_table_and_as_a_figure(self, tmp_path):
        made = told({"<a>": MINE}, Told({"CE": 0.9, "<a>": 0.95}), tmp_path)
        assert "<b>&lt;a&gt;: better than" in made._repr_html_()
        assert "&lt;a&gt;</td>" in made._repr_html_()
        assert f"<code>{MINE}</code>" in made._repr_html_()
        table = made.table().set_index("loss")
        assert table.loc["<a>", "verdict"] == "better"
        assert len(made.networks()) == 2 * (5 * 2 + 10)
        assert isinstance(made.figure(), Figure)


class TestLosses:
    @pytest.mark.parametrize(
        ("given", "kind"),
        [
            ("f5", "Row"),
            ("GeneralizedCrossentropy", "Row"),
            ("CategoricalHinge", "Row"),
            (MINE, "Expression"),
            (keras.losses.Poisson(), "Poisson"),
        ],
    )
    def test_by_name_formula_or_themselves(self, given, kind):
        loss = as_loss(given)
        assert type(loss).__name__ == kind
        assert isinstance(as_keras(loss), keras.losses.Loss)
        assert json.loads(json.dumps(identity(loss))) == identity(as_loss(given))
        assert " at 0x" not in formula_of(loss)

    @pytest.mark.parametrize(
        "name", ["CE", "CategoricalCrossentropy", "GeneralizedCrossentropy", "NGL", MINE]
    )
    def test_each_by_name_is_for_the_outputs_of_the_task(self, name):
        logits = np.array([[0.3, -1.0, 0.5], [2.0, 0.1, 0.0]], "float32")
        labels, p = np.eye(3)[:2], keras.ops.softmax(logits)
        wanted = float(as_keras(as_loss(name))(labels, p))
        found = as_keras(as_loss(name), options={"from_logits": True})(labels, logits)
        assert float(found) == pytest.approx(wanted, rel=1e-5)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("CategoricalHinge", {"from_logits": True}, "Hinge does not take from_logits=True"),
            ("Focal", {"head": "sigmoid"}, "the loss Focal does not take head='sigmoid', which"),
            ("ASL (multi-label)", {}, "ASL (multi-label) does not take head='softmax'"),
        ],
    )
    def test_a_loss_for_another_task_is_an_error(self, name, options, message):
        with pytest.raises(UserError, match=re.escape(message)):
            as_keras(as_loss(name), options=options)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([], {}), "no loss to confirm is given"),
            ((["nothing"], {}), "unknown loss 'nothing'; choose from: CE"),
            (([3], {}), "a loss of type int"),
            ((["FormulaLoss"], {}), "FormulaLoss needs arguments; give an object such as"),
            ((["CE + L2"], {}), "CE + L2 is a penalty on the network"),
            (([MINE, MINE], {}), "two losses are named"),
            ((["NGL"], {"contenders": {"CE": MINE}}), "CE is a name of the loss CE"),
            ((["NGL"], {"contenders": {"CE": "MAE"}}), "CE is the name of cross entropy"),
            ((["NGL"], {"contenders": ["NGL"]}), "NGL is a candidate and a contender"),
            (([MINE], {"contenders": None}), "None is no loss, no list of losses"),
            (([MINE], {"rates": 4}), "rates=4 is not a whole number of at least 5"),
            (([MINE], {"rates": [0.1, 0.2]}), "2 learning rates; wanted are at least five"),
            (([MINE], {"new_runs": 1}), "new_runs=1 is not a whole number of at least 2"),
            (([MINE], {"minutes": 0}), "minutes=0 is not a positive number"),
            (([MINE], {"test": (1, 2)}), "a Trainer has test data of its own"),
        ],
    )
    def test_mistakes(self, arguments, message, tmp_path):
        found, settings = arguments
        with pytest.raises(UserError, match=re.escape(message)):
            told(found, Told({}), tmp_path, **settings)

    def test_a_function_has_no_networks(self, tmp_path):
        result = search(
            GeneticProgramming(0, population_size=2, generations=1),
            lambda expression: -expression.size,
            out=tmp_path,
            screening=with_checks(()),
            quiet=True,
        )

        with pytest.raises(UserError, match="FunctionFitness has no networks to confirm with"):
            confirm(result, as_fitness(len), out=tmp_path)


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(260, 6)).astype("float32")
LABELS = X[:, :3].argmax(axis=1)


def model_fn():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(3, "softmax"),
        ]
    )


@pytest.fixture(scope="module")
def fitness():
    train, validation = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
    return TrainingFitness(model_fn, train, validation, epochs=2, batch_size=16, learning_rate=0.01)


class Own(keras.losses.Loss):
    """A loss whose config does not have its argument."""

    def __init__(self, power):
        super().__init__()
        self.power = power

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** self.power, axis=-1)


def first(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


def second(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize(
    "make",
    [
        lambda other: Own(2 + other),
        # Of one name, as after an edit.
        lambda other: _wrapped(second if other else first),
        lambda other: keras.losses.CategoricalFocalCrossentropy(gamma=2.0 + other),
    ],
)
def test_losses_of_keras_are_the_same_with_the_same_arguments_and_code_only(make):
    assert identity(make(0)) == identity(make(0))
    assert identity(make(0)) != identity(make(1))
    assert json.loads(json.dumps(identity(make(0)))) == identity(make(0))


def _wrapped(function):
    copy = types.FunctionType(function.__code__, function.__globals__, "mine")
    copy.__module__ = __name__
    copy.__qualname__ = "mine"
    return keras.src.losses.losses.LossFunctionWrapper(copy)


class TestOwnNetwork:
    @pytest.mark.parametrize(
        ("metric", "mode", "said"),
        [
            ("SparseCategoricalCrossentropy", None, ("the negative SparseCategorical", False)),
            ("auc", None, ("auc", True)),
        ],
    )
    def test_its_measure_is_named_with_its_sign(self, metric, mode, said):
        data = X[:120], LABELS[:120]
        fitness = TrainingFitness(model_fn, data, data, metric=metric, mode=mode, epochs=1)
        trainer = fitness.trainer({"a": as_loss(MINE)})
        assert trainer.measure.startswith(said[0])
        assert trainer.is_share == said[1]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (losses.Poly1(), "the loss Poly1 has from_logits=False, which is True in this task"),
            (keras.losses.CategoricalCrossentropy(), "has from_logits=False, which is True"),
            (losses.Poly1(from_logits=True, ignore_class=2), "ignore_class=2, which is None"),
            (losses.Poly1(from_logits=True, head="sigmoid"), "head='sigmoid', which is 'softmax'"),
            (losses.Poly1(from_logits=True), None),
            (keras.losses.CategoricalCrossentropy(from_logits=True), None),
            # Nothing is known of it.
            (keras.losses.MeanSquaredError(), None),
        ],
    )
    def test_a_loss_object_has_the_options_of_the_task(self, given, message):
        def logits():
            return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])

        data = X[:120], LABELS[:120]
        fitness = TrainingFitness(logits, data, data, epochs=1)
        if message is None:
            assert fitness.trainer({"a": given}).losses == {"a": given}
            return
        with pytest.raises(UserError, match=message):
            fitness.trainer({"a": given})

    @pytest.mark.parametrize("name", ["f5", "gce", "ngl", "f1"])
    def test_a_formula_has_no_name_of_another_loss(self, name):
        with pytest.raises(UserError, match=f"{name} is a name of the loss .*: give the formula"):
            named({name: MINE})
        assert [*named({"NGL": losses.FORMULAS["NGL"], "gce": "GCE", "own": MINE})] == [
            *("NGL", "gce", "own")
        ]

    def test_a_loss_object_has_the_class_weights_of_the_task(self):
        data = X[:120], (LABELS[:120] == 0).astype(int)

        def one_unit():
            return keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, "sigmoid")])

        fitness = TrainingFitness(one_unit, data, data, class_weights="balanced", epochs=1)
        with pytest.raises(UserError, match="class_weights=None, which is "):
            fitness.trainer({"a": losses.Poly1(head="sigmoid")})
        given = losses.Poly1(head="sigmoid", class_weights=(1.0, 5.0))
        assert fitness.trainer({"a": given}).losses == {"a": given}

    def test_a_search_and_its_confirmation(self, fitness, tmp_path):
        strategy = GeneticProgramming(0, population_size=4, generations=1)
        result = search(strategy, fitness, out=tmp_path, quiet=True)
        test = X[160:], LABELS[160:]
        settings = {"best": 1, "rate_runs": 1, "new_runs": 2, "max_added": 0, "quiet": True}
        made = confirm(result, fitness, test, out=tmp_path, **settings)
        assert list(made.cells)[1:] == ["CE", "NGL", "Baikal"]
        assert made.best == result.population[0].individual.id
        assert [row["test"] is None for row in made.rows] == [True] * 20 + [False] * 8
        content = json.loads((tmp_path / "best.json").read_text())
        assert (content["id"], content["formula"]) == (made.best, str(result.best))
        assert content["confirmation"]["sentence"] == made.sentence

    def test_runs_differ_and_losses_of_a_run_share_everything(self, fitness):
        trainer = fitness.trainer({"a": as_loss(MINE), "b": as_loss(MINE)}, (X[160:], LABELS[160:]))
        run = {"learning_rate": 0.01, "run": FIRST_NEW}
        first, again = (trainer(name, None, **run) for name in ("a", "b"))
        assert (first.validation, first.test) == (again.validation, again.test)
        assert np.mean(first.parts) == pytest.approx(first.test, abs=1e-6)
        assert len(set(first.parts)) > 1
        other = trainer("a", None, learning_rate=0.01, run=FIRST_NEW + 1)
        assert (first.validation, first.test) != (other.validation, other.test)
        assert trainer.chance == pytest.approx(1 / 3)
        weights = [trainer._build(FIRST_NEW + run).get_weights()[0] for run in (0, 1, 0)]
        assert (weights[0] == weights[2]).all()
        assert (weights[0] != weights[1]).any()

    def test_a_schedule_is_followed_at_another_rate(self):
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, 20, warmup_target=0.02, warmup_steps=4
        )
        train, validation = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
        settings = {"epochs": 2, "batch_size": 16, "learning_rate": schedule}
        trainer = TrainingFitness(model_fn, train, validation, **settings).trainer(
            {"a": as_loss(MINE)}
        )
        assert trainer.rate == pytest.approx(0.02)
        for rate in (0.02, 0.064):
            found = trainer("a", None, learning_rate=rate, run=FIRST_NEW)
            assert found.status == "ok"
            optimizer = trainer._networks[rate].model.optimizer
            now = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            step = int(keras.ops.convert_to_numpy(optimizer.iterations))
            assert now == pytest.approx(rate / 0.02 * float(schedule(step)), rel=1e-5)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_test_data_that_the_search_has_seen(self, dtype, fitness):
        # In float64 with digits that the search's float32 has not.
        given = (X * np.float64(1 + 1e-9)).astype(dtype)
        losses = {"a": as_loss(MINE)}
        with pytest.raises(UserError, match="all test data are among those of the search"):
            fitness.trainer(losses, (given[120:160], LABELS[120:160]))
        (note,) = fitness.trainer(losses, (given[159:170], LABELS[159:170])).notes
        assert note.startswith("1 of 11 test samples are among the data of the search")

    @pytest.mark.parametrize(
        ("optimizer", "l2", "is_told"),
        [
            ("Adam", 0.0, False),
            ("Adam", 0.01, True),
            (keras.optimizers.AdamW(1e-3), 0.0, False),
            (keras.optimizers.SGD(0.1), 0.0, False),
            (keras.optimizers.SGD(0.1, weight_decay=0.01), 0.0, True),
            (keras.optimizers.SGD(0.1, clipnorm=1.0), 0.0, True),
            (keras.optimizers.Adam(1e-3, clipnorm=1.0), 0.0, True),
            (keras.optimizers.Adam(1e-3, epsilon=0.1), 0.0, True),
        ],
        ids=["Adam", "penalty", "AdamW", "SGD", "decay", "clipping", "Adam clips", "epsilon"],
    )
    def test_a_factor_may_be_more_than_a_rate(self, optimizer, l2, is_told):
        def penalised():
            penalty = keras.regularizers.L2(l2) if l2 else None
            layer = keras.layers.Dense(3, activation="softmax", kernel_regularizer=penalty)
            return keras.Sequential([keras.Input(X.shape[1:]), layer])

        data = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
        fitness = TrainingFitness(penalised, *data, optimizer=optimizer)
        notes = fitness.trainer({"a": as_loss(MINE)}, (X[160:], LABELS[160:])).notes
        assert any("by its size alone" in note for note in notes) == is_told

    def test_what_is_left_without_test_data_must_fill_a_batch(self):
        data = (X[:20], LABELS[:20]), (X[20:36], LABELS[20:36])
        few = TrainingFitness(model_fn, *data, batch_size=20)
        with pytest.raises(UserError, match=r"7 of the search's 36 samples .*, and 16 .* of 20: g"):
            few.trainer({"a": as_loss(MINE)})

    @pytest.mark.parametrize("given", [True, False], ids=["given", "held out"])
    def test_no_sample_is_trained_and_tested_with(self, fitness, given):
        test = (X[160:], LABELS[160:]) if given else None
        trainer = fitness.trainer({"a": as_loss(MINE)}, test)
        assert bool(trainer.notes) == (not given)
        seen = {}
        for run in (0, FIRST_NEW):
            streams = trainer._streams(run)
            assert (streams.test is None) == (run == 0)
            for part in ("train", "validation", "test"):
                data = getattr(streams, part) or ()
                found = {x.tobytes() for batch, *_ in data for x in np.asarray(batch)}
                seen[run, part] = found
            assert not seen[run, "train"] & seen[run, "validation"]
        tested = seen[FIRST_NEW, "test"]
        assert len(tested) == (100 if given else 32)
        used = set.union(*(seen[run, part] for run, part in seen if part != "test"))
        assert not tested & used
        assert len(seen[0, "validation"]) == (40 if given else 32)
        assert seen[0, "validation"] != seen[FIRST_NEW, "validation"]
