"""Racing: who is stopped, when, and that nothing but the journal decides it."""

import re
from functools import partial

import keras
import numpy as np
import pytest
from search_tools import NGL, lines

from nglkeras import UserError
from nglkeras.executors import Local, Processes
from nglkeras.search import (
    GLO,
    PAPER,
    CoefficientSearch,
    Evaluation,
    Fitness,
    GeneticProgramming,
    Individual,
    Member,
    Racing,
    Result,
    TrainingFitness,
    search,
)
from nglkeras.search.page import write_page
from nglkeras.search.racing import Bars, bars, is_possible, read

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 6)).astype("float32")
Y = X[:, :3].argmax(axis=1)
SMALL = {"population_size": 4, "generations": 6}


def model_fn():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])


def fitness(racing=True, **changes):
    settings = {"epochs": 4, "runs": 2, "batch_size": 16, "learning_rate": 0.01} | changes
    data = (X[:160], Y[:160]), (X[160:], Y[160:])
    return TrainingFitness(model_fn, *data, racing=racing, **settings)


def member(curves, means=()):
    details = {"curves": curves, "means": means}
    return Member(Individual(NGL, 0, 0), Evaluation("ok", (0.5,), details=details))


def of(details):
    return details["curves"], details["means"]


class TestBars:
    def test_the_lowest_mean_so_far_of_each_epoch_and_run_less_the_margin(self):
        rivals = [
            member([[0.2, 0.6, 0.7], [0.5, 0.5, 0.5]], [0.7]),
            member([[0.4, 0.2, 0.9], [0.1, 0.7, 0.7]], [0.9]),
        ]
        found = bars(Racing(0.1), rivals, of)
        assert found.in_run(0) == pytest.approx((0.1, 0.2, 0.4), abs=1e-5)
        assert found.in_run(1) == pytest.approx((0.0, 0.3, 0.4), abs=1e-5)
        assert found.in_run(2) == ()
        assert found.runs == pytest.approx((0.6,), abs=1e-5)
        assert found.problem(0.59, 0) == "0.5900 after network 1, below 0.6000, the lowest survivor"
        assert not found.problem(0.6, 0)
        assert not found.problem(0.0, 1)

    def test_an_equal_is_not_below(self):
        third = float(np.float32(1 / 3))
        found = bars(Racing(0.0), [member([[third, third]], [third])], of)
        assert all(bar < np.float32(1 / 3) < bar + 1e-5 for bar in found.in_run(0))
        assert not found.problem(third, 0)

    @pytest.mark.parametrize(
        ("rivals", "expected"),
        [
            ([], Bars()),
            ([member([])], Bars()),
            ([member(None)], Bars()),
            # The second ended early, with 0.5 on the mean.
            ([member([[0.9, 0.9]]), member([[0.5]])], (0.5, 0.5)),
        ],
    )
    def test_few_curves(self, rivals, expected):
        found = bars(Racing(0.0), rivals, of)
        if isinstance(expected, tuple):
            assert found.in_run(0) == pytest.approx(expected, abs=1e-5)
        else:
            assert found == expected

    def test_rivals_are_the_survivors_once_all_have_a_fitness(self):
        good, bad = member([]), Member(Individual(NGL, 0, 1), Evaluation("crashed"))
        for strategy, expected in (
            (GeneticProgramming(0), []),
            (GLO(0), [good]),
            (CoefficientSearch(NGL, 0), [good]),
        ):
            assert strategy.rivals == []
            strategy.population = [good, bad]
            assert strategy.rivals == expected
            strategy.population = [good, good]
            assert strategy.rivals == [good, good]


class TestSettings:
    @pytest.mark.parametrize(
        ("racing", "expected"),
        [(None, None), (False, None), (True, Racing()), (Racing(0.5), Racing(0.5))],
    )
    def test_what_racing_can_be(self, racing, expected):
        assert read(racing, runs=1, epochs=2) == expected
        settings = fitness(racing).settings
        assert ("racing" in settings) == (expected is not None)

    @pytest.mark.parametrize("margin", [-0.1, "much", None, True, float("nan"), float("inf")])
    def test_margins_that_cannot_be(self, margin):
        with pytest.raises(UserError, match="is not a number of at least 0"):
            Racing(margin)

    @pytest.mark.parametrize(
        ("racing", "lengths", "message"),
        [
            (0.01, {}, r"racing=0.01 is neither True, False nor a Racing"),
            ("on", {}, r"racing='on' is neither"),
            (True, {"runs": 1, "epochs": 1}, "one epoch of one run, and so no moment to stop at"),
        ],
    )
    def test_mistakes(self, racing, lengths, message):
        with pytest.raises(UserError, match=message):
            fitness(racing, **lengths)

    def test_several_data_sets_need_several_runs(self):
        assert is_possible(runs=2, epochs=1, datasets=3)
        with pytest.raises(UserError, match="it looks after each run, and there is one"):
            read(True, runs=1, epochs=9, datasets=3)


class TestTrainingFitness:
    def test_without_rivals_nothing_changes_but_the_curves_are_kept(self):
        raced, plain = fitness()(NGL), fitness(None)(NGL)
        assert (raced.status, raced.fitness) == ("ok", plain.fitness)
        curves = raced.details["curves"]
        assert [len(curve) for curve in curves] == [4, 4]
        assert [c[-1] for c in curves] == pytest.approx(raced.details["accuracies"], rel=1e-6)
        assert raced.details["epochs"] == [8, 8]
        assert "curves" not in plain.details

    @pytest.mark.parametrize(
        ("curves", "means", "lengths", "message"),
        [
            # Nothing reaches 2; the third epoch is the last at which it matters.
            ([[0, 0, 5, 0], [0] * 4], [0.0], [3], "network 1: 0.* at best after epoch 3, below 1."),
            ([[0, 0, 0, 9], [0] * 4], [2.0], [4], "0.* after network 1, below 1.9"),
            ([[0] * 4, [2] * 4], [0.0], [4, 1], "network 2: 0.* at best after epoch 1, below 1.9"),
            # Where a candidate has its fitness, nothing is spared by stopping it.
            ([[0] * 4, [0, 0, 0, 9]], [0.0], [4, 4], ""),
        ],
    )
    def test_stops_where_the_bar_is_too_high(self, curves, means, lengths, message):
        evaluate = fitness()
        evaluate(NGL)
        accuracies = [means[0], 9.0]
        details = {"curves": curves, "accuracies": accuracies}
        rival = Member(Individual(NGL, 0, 0), Evaluation("ok", (9.0,), details=details))
        evaluate.begin_generation([rival])
        ((_, found),) = evaluate.each([NGL], ["1-0"], Local())
        assert [len(curve) for curve in found.details["curves"]] == lengths
        assert found.details["epochs"] == [sum(lengths), 8]
        assert found.status == ("stopped" if message else "ok")
        assert bool(found.rank) == (not message)
        assert re.match(message or "$", found.message)
        # The next generation has no bars of this one.
        evaluate.begin_generation([])
        ((_, found),) = evaluate.each([NGL], ["1-0"], Local())
        assert found.status == "ok"

    @pytest.mark.parametrize("replies", [Local, partial(Processes, 2)])
    def test_a_search_with_any_workers_and_interrupted_anywhere(self, tmp_path, replies):
        """The same records, whoever trains and however often the search was stopped."""
        make = partial(GeneticProgramming, 3, **SMALL)
        whole = search(make(), fitness(), out=tmp_path / "whole", screening=PAPER, quiet=True)
        with replies() as executor:
            other = partial(search, out=tmp_path / "other", screening=PAPER, quiet=True)
            stops = []

            def stop(generation):
                if generation.stopped and not stops:
                    stops.append(generation.number)
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                other(make(), fitness(), executor=executor, on_generation=stop)
            # In the middle of a generation, whose bars are those of its beginning.
            path = tmp_path / "other" / "search.jsonl"
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
            again = other(make(), fitness(), executor=executor)
        by_id = [
            {row["id"]: row for row in lines(tmp_path / name)[1:]} for name in ("whole", "other")
        ]
        assert by_id[0] == by_id[1]
        assert again.population[0].individual == whole.population[0].individual
        assert Result.load(tmp_path / "other") == again

    def test_what_a_search_says_of_it(self, tmp_path, capsys):
        strategy = GeneticProgramming(3, **SMALL)
        result = search(strategy, fitness(), out=tmp_path, screening=PAPER)
        last = result.generations[-1]
        stopped = {
            name: one for name, one in result.records.items() if one.evaluation.status == "stopped"
        }
        assert len(stopped) == last.stopped > 0
        assert last.failed == 0
        assert not any(one.evaluation.rank for one in stopped.values())
        # Neither of generation 0, which has nothing to fall behind, nor a survivor.
        assert all(one.individual.generation > 0 for one in stopped.values())
        assert not {member.individual.id for member in result.population} & stopped.keys()
        trained, epochs = result.epochs
        own = [one.evaluation for one in result.records.values() if not one.twin]
        curves = [one.details["curves"] for one in own if one.details]
        assert trained == sum(len(curve) for one in curves for curve in one) < epochs
        assert epochs == 8 * len(curves)
        share = f"{100 * (1 - trained / epochs):.0f} % saved"
        assert f"Racing: {trained} of {epochs} epochs trained, {share}" in str(result)
        assert f"({last.stopped} stopped early" in str(result)
        assert f"trained ({last.stopped} stopped early), saved" in capsys.readouterr().out
        assert "stopped" not in result.failures
        page = write_page(tmp_path).read_text()
        assert f'id="kind-stopped-early">{last.stopped}<' in page
        assert f'id="epochs">{trained} of {epochs}<' in page
        plain = fitness(None)
        with pytest.raises(UserError, match=r"other settings \(evaluate racing"):
            search(GeneticProgramming(3, **SMALL), plain, out=tmp_path, screening=PAPER)

    @pytest.mark.parametrize(
        "make",
        [
            partial(GLO, 1, population_size=12, generations=4, elites=2),
            partial(CoefficientSearch, NGL, 1, generations=4),
            partial(GeneticProgramming, 3, adaptation="success_history", **SMALL),
        ],
    )
    def test_every_strategy_races(self, tmp_path, make):
        seeds = ["CE"] if make.func is GLO else ()
        settings = {"screening": PAPER, "seeds": seeds, "quiet": True}
        result = search(make(), fitness(Racing(0.0)), out=tmp_path, **settings)
        assert result.generations[-1].stopped > 0
        assert len(result.generations) == make().generations + 1
        assert result.population[0].evaluation.rank


def test_a_fitness_of_one_s_own_hears_of_each_generation(tmp_path):
    heard = []

    class Mine(Fitness):
        def begin_generation(self, rivals):
            heard.append([one.evaluation.fitness for one in rivals])

        def __call__(self, expression):
            return float(expression.size)

    strategy = GeneticProgramming(0, population_size=4, generations=2)
    result = search(strategy, Mine(), out=tmp_path, screening=PAPER, quiet=True)
    assert [len(one) for one in heard] == [0, 4, 4]
    assert max(heard[2]) == result.generations[1].best
