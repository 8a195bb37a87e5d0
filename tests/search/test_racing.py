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
from nglkeras.search.racing import as_racing, bars, is_possible

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 6)).astype("float32")
Y = X[:, :3].argmax(axis=1)
SMALL = {"population_size": 4, "generations": 6}


def model_fn():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])


# So few networks have so few neighbours.
RACING = Racing(3)


def fitness(racing=RACING, **changes):
    settings = {"epochs": 4, "runs": 2, "batch_size": 16, "learning_rate": 0.01} | changes
    data = (X[:160], Y[:160]), (X[160:], Y[160:])
    return TrainingFitness(model_fn, *data, racing=racing, **settings)


def member(curves, means=()):
    details = {"curves": curves, "means": means}
    return Member(Individual(NGL, 0, 0), Evaluation("ok", (0.5,), details=details))


def of(details):
    return details["curves"], details["means"]


class TestBars:
    def test_after_an_epoch_the_least_from_which_a_neighbour_came_to_the_lowest_survivor(self):
        rivals = [member([[0.1, 0.9], [0.2, 0.6]]), member([[0.3, 0.8], [0.3, 0.7]])]
        curves = [[0.1, 0.2], [0.2, 0.3], [0.3, 0.2], [0.4, 0.9], [0.5, 0.4], [0.6, 0.7]]
        trained = [member([curve]) for curve in curves]
        found = bars(Racing(3), rivals, trained, of)
        # In run 1 the lowest survivor has 0.8. Of the three that were nearest to 0.3 one came
        # there, of those around 0.2 none.
        assert found.in_run(0) == pytest.approx((0.3, 0.7), abs=1e-5)
        # In run 2 it has 0.6, where two came.
        assert found.in_run(1) == pytest.approx((0.3, 0.5), abs=1e-5)
        assert found.in_run(2) == ()
        # Alone with itself a network that came there is the bar.
        assert bars(Racing(1), rivals, trained, of).in_run(0)[0] == pytest.approx(0.4, abs=1e-5)
        # The order in which they were trained is of no account.
        assert bars(Racing(3), rivals, trained[::-1], of) == found

    def test_the_best_so_far_is_what_counts(self):
        rivals, trained = [member([[0.0, 0.0, 0.5]])], [member([[0.6, 0.1, 0.7]])]
        found = bars(Racing(1), rivals, trained, of)
        assert found.in_run(0) == pytest.approx((0.5, 0.5, 0.5), abs=1e-5)

    def test_after_a_run_the_lowest_mean_of_as_many(self):
        rivals = [member([], [0.7, 0.8]), member([], [0.9, 0.6])]
        found = bars(Racing(), rivals, [], of)
        assert found.runs == pytest.approx((0.7, 0.6), abs=1e-5)
        below = "0.6900 after network 1, below 0.7000, the lowest survivor"
        assert found.judged(Evaluation("ok", (0.69,)), 0) == Evaluation("stopped", message=below)
        behind = found.judged(Evaluation("ok", (0.5,)), 1)
        assert behind.message.startswith("0.5000 after 2 networks, below 0.6000")
        for evaluation, run in (
            (Evaluation("ok", (0.7,)), 0),
            (Evaluation("ok", (0.0,)), 2),
            (Evaluation("exploded"), 0),
        ):
            assert found.judged(evaluation, run) is evaluation

    def test_an_equal_is_not_below(self):
        third = float(np.float32(1 / 3))
        rivals = [member([[third, third]], [third])]
        found = bars(Racing(1), rivals, rivals, of)
        assert all(bar < np.float32(1 / 3) < bar + 1e-5 for bar in found.in_run(0))
        assert found.judged(Evaluation("ok", (third,)), 0).status == "ok"

    @pytest.mark.parametrize(
        ("rivals", "trained", "expected"),
        [
            ([], [member([[0.1, 0.9]])], ()),
            ([member([])], [member([[0.1, 0.9]])], ()),
            ([member(None)], [member([[0.1, 0.9]])], ()),
            ([member([[0.1, 0.9]])], [], ()),
            # It ended early, with 0.5.
            ([member([[0.4]])], [member([[0.9, 0.9]]), member([[0.5]])], (0.4, 0.4)),
            # None of the trained came so far.
            ([member([[0.9]])], [member([[0.5, 0.6]])], (0.9, 0.9)),
        ],
    )
    def test_few_curves(self, rivals, trained, expected):
        found = bars(Racing(1), rivals, trained, of)
        assert found.in_run(0) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("nothing", [np.nan, None], ids=["NaN", "null"])
    def test_a_measure_that_is_no_number_is_the_least(self, nothing):
        def found(value):
            rivals = [member([[value, 0.5]]), member([[0.2, value]])]
            return bars(Racing(2), rivals, [*rivals, member([[value, 0.7]])], of)

        assert found(nothing) == found(-np.inf)
        assert found(nothing).in_run(0) == (-np.inf, -np.inf)

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
        [(None, None), (False, None), (True, Racing()), (Racing(5), Racing(5))],
    )
    def test_what_racing_can_be(self, racing, expected):
        assert as_racing(racing, runs=1, epochs=2) == expected
        settings = fitness(racing).settings
        assert ("racing" in settings) == (expected is not None)

    @pytest.mark.parametrize("neighbours", [0, -1, 1.5, "many", None, True])
    def test_neighbours_that_cannot_be(self, neighbours):
        with pytest.raises(UserError, match=r"neighbours=.* is not a whole number of at least 1"):
            Racing(neighbours)

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
            as_racing(True, runs=1, epochs=9, datasets=3)


class TestTrainingFitness:
    def test_averaged_weights_are_measured_as_the_network_ends_with_them(self):
        adam = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.99)
        ways = {"optimizer": adam, "learning_rate": None}
        plain, raced = (fitness(racing, **ways)(NGL) for racing in (None, RACING))
        assert plain.fitness == raced.fitness
        assert plain.fitness != fitness(None)(NGL).fitness

    def test_without_rivals_nothing_changes_but_the_curves_are_kept(self):
        raced, plain = fitness()(NGL), fitness(None)(NGL)
        assert raced.status == "ok"
        assert raced.fitness == pytest.approx(plain.fitness, rel=1e-6)
        curves = raced.details["curves"]
        assert [len(curve) for curve in curves] == [4, 4]
        assert [c[-1] for c in curves] == pytest.approx(raced.details["accuracies"], rel=1e-6)
        assert raced.details["epochs"] == [8, 8]
        assert "curves" not in plain.details

    @pytest.mark.parametrize(
        ("curves", "means", "lengths", "message"),
        [
            # Nothing reaches 2; the third epoch is the last at which it matters.
            (
                [[0, 0, 2, 2], [0] * 4],
                [0.0],
                [3],
                "network 1: 0.* after epoch 3, below 2.0000",
            ),
            ([[0] * 4, [0] * 4], [2.0], [4], "0.* after network 1, below 2.0000"),
            (
                [[0] * 4, [2] * 4],
                [0.0],
                [4, 1],
                "network 2: 0.* after epoch 1, below 2.0000",
            ),
            # Where a candidate has its fitness, nothing is spared by stopping it.
            ([[0] * 4, [0, 0, 0, 9]], [0.0], [4, 4], ""),
        ],
    )
    def test_stops_where_the_bar_is_too_high(self, curves, means, lengths, message):
        evaluate = fitness(Racing(1))
        evaluate(NGL)
        accuracies = [means[0], 9.0]
        details = {"curves": curves, "accuracies": accuracies}
        rival = Member(Individual(NGL, 0, 0), Evaluation("ok", (9.0,), details=details))
        evaluate.begin_generation([rival], [rival])
        ((_, found),) = evaluate.each([NGL], ["1-0"], Local())
        assert [len(curve) for curve in found.details["curves"]] == lengths
        assert found.details["epochs"] == [sum(lengths), 8]
        assert found.status == ("stopped" if message else "ok")
        assert bool(found.rank) == (not message)
        assert re.match(message or "$", found.message)
        # The next generation has no bars of this one.
        evaluate.begin_generation([], [])
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
        result = search(make(), fitness(Racing(2)), out=tmp_path, **settings)
        assert result.generations[-1].stopped > 0
        assert len(result.generations) == make().generations + 1
        assert result.population[0].evaluation.rank


def test_a_fitness_of_one_s_own_hears_of_each_generation(tmp_path):
    heard = []

    class Mine(Fitness):
        def begin_generation(self, rivals, trained):
            heard.append([[one.evaluation.fitness for one in many] for many in (rivals, trained)])

        def __call__(self, expression):
            return float(expression.size)

    strategy = GeneticProgramming(0, population_size=4, generations=2)
    result = search(strategy, Mine(), out=tmp_path, screening=PAPER, quiet=True)
    assert [len(rivals) for rivals, _ in heard] == [0, 4, 4]
    assert max(heard[2][0]) == result.generations[1].best
    records = [one for one in result.records.values() if one.evaluation.rank and not one.twin]
    before = [sum(one.individual.generation < i for one in records) for i in range(3)]
    assert [len(trained) for _, trained in heard] == before
