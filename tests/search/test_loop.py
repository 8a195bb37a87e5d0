"""The loop of a search and its journal. Nothing is trained."""

import json
import multiprocessing
import random as dice
import time
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from search_tools import NGL, TINY, by_hash, lines

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import (
    GLO,
    PAPER,
    CoefficientSearch,
    Evaluation,
    Fitness,
    GeneticProgramming,
    Individual,
    Result,
    Screening,
    Variation,
    search,
)
from nglkeras.search.known import known_loss
from nglkeras.search.screening import Screen


class TestLoop:
    def test_ends_with_the_best(self, tmp_path):
        seen = []
        result = search(
            GeneticProgramming(0, **TINY),
            by_hash,
            out=tmp_path,
            on_generation=seen.append,
            quiet=True,
        )
        assert tuple(seen) == result.generations
        assert [g.number for g in seen] == [0, 1, 2, 3, 4]
        last = seen[-1]
        assert last.asked == 30
        assert last.trained + sum(last.saved.values()) == 30
        assert last.saved["rejected"] > 0
        assert last.discarded > 0
        best = result.best_losses(3)
        assert best[0].individual.expression == result.best
        assert len({str(m.individual.expression) for m in best}) == 3
        content = json.loads((tmp_path / "best.json").read_text())
        assert content["formula"] == str(result.best)
        assert content["search"]["seed"] == 0
        assert result.best_losses(0) == []
        with pytest.raises(UserError, match="count=-1 is not a whole number of at least 0"):
            result.best_losses(-1)
        with pytest.raises(UserError, match="this search has no individual 'zz'"):
            result.ancestors("zz")
        family = result.ancestors(result.population[0].individual.id)
        assert any(record.individual.made_by == ("random",) for record in family.values())

    def test_same_seed_same_journal(self, tmp_path):
        make = partial(GeneticProgramming, 1, **TINY)
        results = [search(make(), by_hash, out=tmp_path / name, quiet=True) for name in "ab"]
        assert lines(tmp_path / "a") == lines(tmp_path / "b")
        assert results[0].population == results[1].population

    def test_goes_on_and_asks_for_nothing_twice(self, tmp_path):
        calls = []

        def counted(expression):
            calls.append(str(expression))
            if len(calls) == 7:
                raise KeyboardInterrupt
            return by_hash(expression)

        with pytest.raises(KeyboardInterrupt):
            search(GeneticProgramming(2, **TINY), counted, out=tmp_path / "a", quiet=True)
        search(GeneticProgramming(2, **TINY), counted, out=tmp_path / "a", quiet=True)
        search(GeneticProgramming(2, **TINY), by_hash, out=tmp_path / "b", quiet=True)
        assert lines(tmp_path / "a")[1:] == lines(tmp_path / "b")[1:]
        # Only the interrupted one was asked for again.
        assert len(calls) - len(set(calls)) == 1
        before = len(calls)
        search(GeneticProgramming(2, **TINY), counted, out=tmp_path / "a", quiet=True)
        assert len(calls) == before

    def test_more_generations_go_on(self, tmp_path):
        few = GeneticProgramming(2, population_size=6, generations=2)
        search(few, by_hash, out=tmp_path / "a", quiet=True)
        search(GeneticProgramming(2, **TINY), by_hash, out=tmp_path / "a", quiet=True)
        search(GeneticProgramming(2, **TINY), by_hash, out=tmp_path / "b", quiet=True)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")

    def test_without_screening_everything_is_trained(self, tmp_path):
        result = search(
            GeneticProgramming(0, **TINY), by_hash, out=tmp_path, screening=PAPER, quiet=True
        )
        assert result.generations[-1].trained == 30

    def test_a_half_line_is_passed_over(self, tmp_path, capsys):
        search(GeneticProgramming(3, **TINY), by_hash, out=tmp_path, quiet=True)
        path = tmp_path / "search.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        search(GeneticProgramming(3, **TINY), by_hash, out=tmp_path, quiet=True)
        assert "cannot be read, passed over" in capsys.readouterr().out
        assert path.read_bytes().splitlines()[-1] == whole.splitlines()[-1]

    def test_other_settings_in_the_same_folder(self, tmp_path):
        search(GeneticProgramming(0, **TINY), by_hash, out=tmp_path, quiet=True)
        with pytest.raises(UserError, match=r"other settings \(seed 0, not 1\); give another"):
            search(GeneticProgramming(1, **TINY), by_hash, out=tmp_path, quiet=True)
        with pytest.raises(UserError, match=r"\(screening rejection True, not False\)"):
            search(
                GeneticProgramming(0, **TINY),
                by_hash,
                out=tmp_path,
                screening=Screening(gradients="exact", rejection=False),
                quiet=True,
            )

    def test_a_broken_off_training_is_tried_again(self, tmp_path):
        """As long as nothing has descended from it."""

        def failing(expression):
            outcome = by_hash(expression)
            return Evaluation("out_of_memory") if len(calls) == 1 else outcome

        calls = []

        def stopping(expression):
            calls.append(expression)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return failing(expression)

        def working(expression):
            return by_hash(expression)

        # To the search they are the same function, on a machine that is mended.
        stopping.settings = working.settings = {"by": "hash"}

        with pytest.raises(KeyboardInterrupt):
            search(
                GeneticProgramming(6, **TINY),
                stopping,
                out=tmp_path / "a",
                quiet=True,
                screening=PAPER,
            )
        assert "out_of_memory" in (tmp_path / "a" / "search.jsonl").read_text()
        healed = search(
            GeneticProgramming(6, **TINY), working, out=tmp_path / "a", quiet=True, screening=PAPER
        )
        whole = search(
            GeneticProgramming(6, **TINY), by_hash, out=tmp_path / "b", quiet=True, screening=PAPER
        )
        assert healed.population == whole.population

    def test_a_machine_that_fails_ends_the_search(self, tmp_path):
        def broken(expression):
            return Evaluation("out_of_memory", message="no memory")

        with pytest.raises(UserError, match=r"8 trainings in a row ended in out_of_memory \(no m"):
            search(GeneticProgramming(0), broken, out=tmp_path, screening=PAPER, quiet=True)

    @pytest.mark.parametrize(
        ("outcome", "message"),
        [
            (Evaluation("rejected"), "unknown status of an evaluation 'rejected'"),
            ("good", "neither numbers nor JSON"),
            (1j, "neither numbers nor JSON"),
            pytest.param(10**400, "neither numbers nor JSON", id="10**400"),
            (Evaluation("ok", (1.0,), details={"x": object()}), "neither numbers nor JSON"),
        ],
    )
    def test_what_is_no_evaluation(self, tmp_path, outcome, message):
        with pytest.raises(UserError, match=message):
            search(GeneticProgramming(0), lambda expression: outcome, out=tmp_path, quiet=True)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"screening": "paper"}, "screening is of type str"),
            ({"executor": "processes"}, "executor='processes' is none of nglkeras.executors"),
            ({"on_generation": "x"}, "on_generation='x' is no function"),
            ({"seeds": 5}, "seeds=5 are no losses; give a list"),
            ({"seeds": None}, "seeds=None are no losses; give a list"),
        ],
    )
    def test_settings_that_cannot_be(self, tmp_path, settings, message):
        with pytest.raises(UserError, match=message):
            search(GeneticProgramming(0), lambda e: 0.5, out=tmp_path, quiet=True, **settings)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("variation", [None, {"max_size": 50}])
    def test_a_variation_is_one(self, variation):
        with pytest.raises(UserError, match=r"variation=.* is no Variation"):
            GeneticProgramming(0, variation=variation)

    @pytest.mark.parametrize("seed", ["a", 1.5, None, True])
    def test_seeds_that_cannot_be(self, seed):
        with pytest.raises(UserError, match=r"seed=.* is not a whole number"):
            GeneticProgramming(seed)

    def test_numpy_s_numbers_are_numbers(self, tmp_path):
        def evaluate(expression):
            return Evaluation("ok", np.float32(0.5))

        strategy = GeneticProgramming(0, population_size=2, generations=1)
        result = search(strategy, evaluate, out=tmp_path, screening=PAPER, quiet=True)
        assert result.population[0].evaluation.fitness == (0.5,)

    def test_a_used_strategy(self, tmp_path):
        strategy = GeneticProgramming(0, population_size=2, generations=0)
        search(strategy, by_hash, out=tmp_path / "a", quiet=True)
        with pytest.raises(UserError, match="the strategy has been used already"):
            search(strategy, by_hash, out=tmp_path / "b", quiet=True)

    def test_nan_is_no_fitness(self, tmp_path):
        result = search(
            GeneticProgramming(0, population_size=3, generations=0),
            lambda expression: float("nan"),
            out=tmp_path,
            screening=PAPER,
            quiet=True,
        )
        assert {r.evaluation.status for r in result.records.values()} <= {
            "non_finite",
            "discarded",
        }
        assert not (tmp_path / "best.json").exists()


class TestFolder:
    def run(self, evaluate, out, generations=1, quiet=True):
        strategy = GeneticProgramming(0, population_size=4, generations=generations)
        screening = Screening(gradients="exact")
        return search(strategy, evaluate, out=out, screening=screening, quiet=quiet)

    def test_another_function_is_refused(self, tmp_path):
        self.run(lambda e: -float(e.size), tmp_path)
        with pytest.raises(UserError, match=r"another evaluate: code .* give another folder"):
            self.run(lambda e: float(e.size), tmp_path)

    def test_goes_on_and_says_so(self, tmp_path, capsys):
        def evaluate(expression):
            return -float(expression.size)

        self.run(evaluate, tmp_path)
        rows = len((tmp_path / "search.jsonl").read_text().splitlines()) - 1
        self.run(evaluate, tmp_path, generations=2, quiet=False)
        assert f"resumed from {rows} rows of" in capsys.readouterr().out

    def test_a_journal_from_before_goes_on(self, tmp_path):
        self.run(lambda e: -float(e.size), tmp_path)
        path = tmp_path / "search.jsonl"
        header, *rows = path.read_text().splitlines()
        header = json.loads(header)
        header["settings"]["evaluate"] = {}
        path.write_text("\n".join([json.dumps(header), *rows, ""]))
        before = path.read_bytes()
        self.run(lambda e: -float(e.size), tmp_path)
        assert path.read_bytes() == before

    def test_settings_of_one_s_own(self, tmp_path):
        def evaluate(expression):
            return -float(expression.size)

        def other(expression):
            return 0.0

        evaluate.settings = other.settings = {"rate": 1}
        first = self.run(evaluate, tmp_path)
        assert self.run(other, tmp_path).population == first.population

    def test_no_function(self, tmp_path):
        with pytest.raises(UserError, match="evaluate is of type float; give a function"):
            self.run(1.0, tmp_path)

    def test_best_of_nothing(self, tmp_path):
        result = self.run(lambda e: float("nan"), tmp_path)
        with pytest.raises(UserError, match=r"no loss of this search has a fitness: .*non_finite"):
            _ = result.best
        assert result.best_losses() == []


class TestSeeds:
    KNOWN = ("CE", "ngl", "-(log(y_pred) - y_true/y_pred)", "f1")

    def run(self, out, seeds=KNOWN, evaluate=by_hash, strategy=None, **options):
        strategy = strategy or GeneticProgramming(0, **TINY)
        return search(strategy, evaluate, out=out, seeds=seeds, quiet=True, **options)

    def test_stand_in_the_first_places_and_the_others_stay(self, tmp_path):
        result = self.run(tmp_path / "a")
        plain = self.run(tmp_path / "b", ())
        first = [result.records[f"0-{i}"].individual for i in range(3)]
        assert [str(one.expression) for one in first] == [
            "-10*(y_true*log(y_pred))",
            FORMULAS["NGL"],
            FORMULAS["Baikal"],
        ]
        assert {one.made_by for one in first} == {("seed",)}
        # Paper A has no square: f1 is written with products.
        f1 = result.records["0-3"].individual.expression
        t, p = np.ones(5), np.linspace(0.1, 0.9, 5)
        assert "square" not in f1.nodes
        assert f1(t, p) == pytest.approx(Expression.parse(FORMULAS["f1"])(t, p))
        others = ("0-4", "0-5")
        assert [result.records[i] for i in others] == [plain.records[i] for i in others]
        assert any({"0-0", "0-1"} & {*r.individual.parents} for r in result.records.values())

    def test_are_trained_whatever_the_screening_says(self, tmp_path):
        flat = "y_pred/(1e7 + y_true)"
        assert Screen().judge(Expression.parse("exp(y_true*y_pred)")).status == "rejected"
        assert Screen().judge(Expression.parse(flat)).status == "discarded"
        result = self.run(tmp_path, [flat, "exp(y_true*y_pred)", "exp(y_true*y_pred)"])
        statuses = [result.records[f"0-{i}"].evaluation.status for i in range(3)]
        assert "discarded" not in statuses
        assert "rejected" not in statuses
        # But nothing twice.
        assert result.records["0-2"].twin == "0-1"

    def test_those_without_a_fitness_are_named(self, tmp_path, capsys):
        def evaluate(expression):
            return Evaluation("exploded", message="too much") if "sin" in str(expression) else 0.5

        search(GeneticProgramming(0, **TINY), evaluate, out=tmp_path, seeds=["NGL", "CE"])
        out = capsys.readouterr().out
        assert out.count("has no fitness") == 1
        assert f"the seed 0-0, {FORMULAS['NGL']}, has no fitness: exploded (too much)" in out

    def test_of_a_set_have_an_order_that_no_process_shuffles(self, tmp_path):
        self.run(tmp_path / "set", seeds=set(self.KNOWN))
        self.run(tmp_path / "list", seeds=sorted(self.KNOWN))
        planned = [lines(tmp_path / name)[0]["settings"]["seeds"] for name in ("set", "list")]
        assert planned[0] == planned[1]

    def test_belong_to_the_search(self, tmp_path):
        first = self.run(tmp_path)
        assert lines(tmp_path)[0]["settings"]["seeds"][1] == FORMULAS["NGL"]
        before = (tmp_path / "search.jsonl").read_bytes()
        again = self.run(tmp_path, evaluate=by_hash)
        assert again.population == first.population
        assert (tmp_path / "search.jsonl").read_bytes() == before
        assert Result.load(tmp_path) == again
        with pytest.raises(UserError, match=r"holds a search with other settings \(seeds "):
            self.run(tmp_path, ["CE"])
        self.run(tmp_path / "without", ())
        assert "seeds" not in lines(tmp_path / "without")[0]["settings"]

    def test_cross_entropy_is_keras_own(self, tmp_path):
        y_true, y_pred = np.eye(3), np.array([[0.5, 0.3, 0.2]] * 3)
        found = {}
        for reduction in ("mean", "sum"):
            loss = known_loss("CE", 3, reduction).to_loss(class_reduction=reduction)
            found[reduction] = float(loss(y_true, y_pred))
        expected = float(keras.losses.CategoricalCrossentropy()(y_true, y_pred))
        assert found == pytest.approx({"mean": expected, "sum": expected}, rel=1e-5)

    @pytest.mark.parametrize("name", ["NGL", "Baikal", "CE"])
    def test_glo_has_them_in_its_own_form(self, tmp_path, name):
        strategy = GLO(0, population_size=12, generations=1, elites=2)
        result = self.run(tmp_path, [name], strategy=strategy)
        seed = result.records["0-0"].individual.expression
        t, p = np.eye(10), np.full((10, 10), 0.1)
        assert seed.nodes[0] == "neg"
        assert seed(t, p) == pytest.approx(known_loss(name, 10)(t, p))

    @pytest.mark.parametrize(
        ("seeds", "message"),
        [
            (["Bikal"], r"unknown loss 'Bikal'; choose from: CE, .*NGL, .*, or give a formula"),
            (["y_pred +"], "formula"),
            ([3], "a loss of type int; give a name, a formula or an Expression"),
            (["CE"] * 7, "7 seeds for 6 places in generation 0"),
            (["y_pred*3"], r"the seed y_pred\*3 needs y_true and y_pred"),
        ],
    )
    def test_mistakes(self, tmp_path, seeds, message):
        with pytest.raises(UserError, match=message):
            self.run(tmp_path, seeds)
        assert not (tmp_path / "search.jsonl").read_bytes()

    def test_no_coefficients_and_no_operators_that_trees_lack(self, tmp_path):
        with pytest.raises(UserError, match="takes no seeds"):
            self.run(tmp_path, "CE", strategy=CoefficientSearch(NGL, 0, generations=1))
        strategy = GeneticProgramming(0, variation=Variation(("add", "mul")), **TINY)
        with pytest.raises(UserError, match=r"unknown operator in the seed .* 'log'; choose from"):
            self.run(tmp_path, "CE", strategy=strategy)


class Size(Fitness):
    """The larger the better; the largest losses may take too long."""

    settings = {"kind": "size"}  # noqa: RUF012

    def __init__(self, are_slow):
        self.are_slow = are_slow

    def __call__(self, expression):
        if expression.size > 12 and self.are_slow:
            return Evaluation("timeout", message="slow")
        return float(expression.size)


class TestEnd:
    @pytest.mark.parametrize("patience", [1, 3])
    def test_patience_ends_a_search_that_does_not_get_better(self, tmp_path, capsys, patience):
        def evaluate(expression):
            return float("log" in expression.nodes)

        make = partial(GeneticProgramming, 0, population_size=6)
        result = search(make(generations=30), evaluate, out=tmp_path, patience=patience)
        bests = [generation.best for generation in result.generations]
        first = bests.index(max(bests))
        assert len(bests) == first + patience + 1
        ending = f"nded after generation {len(bests) - 1}: the best fitness has not risen for"
        assert ending in capsys.readouterr().out
        assert ending in str(result)
        assert Result.load(tmp_path) == result
        # With another one the same search goes on.
        longer = search(make(generations=len(bests)), evaluate, out=tmp_path, quiet=True)
        assert len(longer.generations) == len(bests) + 1
        assert longer.ending == ""
        assert Result.load(tmp_path) == longer

    def test_a_shorter_search_leaves_the_winner_of_a_longer_one(self, tmp_path, capsys):
        path, make = tmp_path / "best.json", partial(GeneticProgramming, 0, population_size=6)
        search(make(generations=5), by_hash, out=tmp_path, quiet=True)
        longer = path.read_text()
        for generations, patience in ((1, None), (5, 1)):
            strategy = make(generations=generations)
            shorter = search(strategy, by_hash, out=tmp_path, patience=patience)
            assert len(shorter.generations) < 6
            assert "best.json stays that of the search to generation 5" in capsys.readouterr().out
            assert path.read_text() == longer

    def test_a_winner_of_a_second_attempt_replaces_a_verdict(self, tmp_path):
        path = tmp_path / "best.json"
        make = partial(GeneticProgramming, 0, population_size=12, generations=0)
        search(make(), Size(True), out=tmp_path, quiet=True)
        content = json.loads(path.read_text()) | {"confirmation": {"verdict": "yes"}}
        path.write_text(json.dumps(content))
        search(make(), Size(True), out=tmp_path, quiet=True)
        assert json.loads(path.read_text()) == content
        result = search(make(), Size(False), out=tmp_path, quiet=True)
        content = json.loads(path.read_text())
        assert content["formula"] == result.best_losses(1)[0].formula
        assert "confirmation" not in content

    def test_the_last_digit_of_float32_is_no_progress(self, tmp_path):
        seen = []

        def evaluate(expression):
            seen.append(expression)
            return 0.5 + 1e-8 * len(seen)

        result = search(
            GeneticProgramming(0, population_size=4, generations=30),
            evaluate,
            out=tmp_path,
            patience=2,
            quiet=True,
        )
        assert len(result.generations) == 3

    @pytest.mark.parametrize("patience", [1, 2])
    def test_a_first_generation_without_fitness_is_not_one_too_many(self, tmp_path, patience):
        def evaluate(_):
            return Evaluation("non_finite")

        strategy = GeneticProgramming(0, population_size=4, generations=30)
        result = search(strategy, evaluate, out=tmp_path, patience=patience, quiet=True)
        assert len(result.generations) == patience + 1

    def test_patience_that_cannot_be(self, tmp_path):
        with pytest.raises(UserError, match="patience=0 is not a whole number of at least 1"):
            search(GeneticProgramming(0, **TINY), by_hash, out=tmp_path, patience=0)

    @pytest.mark.parametrize(
        ("options", "converges"),
        [
            # Without a rule against copies the first loss with the greatest fitness fills all.
            ({"distinct": False, "generations": 60}, True),
            ({"distinct": True, "generations": 60}, False),
            ({"distinct": False, "generations": 0}, False),
        ],
    )
    def test_a_converged_search_says_so_once(self, tmp_path, capsys, options, converges):
        strategy = GeneticProgramming(0, population_size=4, **options)
        result = search(strategy, by_hash, out=tmp_path, screening=PAPER)
        formulas = {member.individual.expression for member in result.population}
        assert (len(formulas) == 1) == converges
        told = "converged: all 4 survivors are the same loss, "
        assert capsys.readouterr().out.count(told) == converges

    def test_survivors_of_equal_values_have_converged(self, tmp_path, capsys):
        class Equal(GeneticProgramming):
            def propose(self):
                for i, formula in enumerate(("y_true*y_pred", "y_pred*y_true + 0")):
                    yield Individual(Expression.parse(formula), 0, i)

        strategy = Equal(0, population_size=2, generations=0)
        search(strategy, by_hash, out=tmp_path, screening=replace(PAPER, bounds=None))
        assert "converged: all 2 survivors are the same loss, 0-" in capsys.readouterr().out

    @pytest.mark.parametrize(("calls", "where"), [(3, "in generation 0"), (14, "after generation")])
    def test_ctrl_c_says_how_far_it_is(self, tmp_path, capsys, calls, where):
        seen = []

        def evaluate(expression):
            seen.append(expression)
            if len(seen) == calls:
                raise KeyboardInterrupt
            return by_hash(expression)

        evaluate.settings = {}
        with pytest.raises(KeyboardInterrupt):
            search(GeneticProgramming(0, **TINY), evaluate, out=tmp_path, screening=PAPER)
        *_, last = capsys.readouterr().out.strip().splitlines()
        assert last.startswith(f"stopped {where}")
        assert last.endswith("; the same call goes on")
        assert len(Result.load(tmp_path).records) >= calls - 1

    @pytest.mark.parametrize("quiet", [True, False])
    def test_a_search_that_found_nothing_says_why(self, tmp_path, capsys, quiet):
        def evaluate(expression):
            return Evaluation("non_finite", message="the loss left the finite numbers")

        strategy = GeneticProgramming(0, **TINY)
        screening = replace(PAPER, bounds=None)
        result = search(strategy, evaluate, out=tmp_path, screening=screening, quiet=quiet)
        why = "30 non_finite, such as: the loss left the finite numbers"
        *_, last = capsys.readouterr().out.strip().splitlines()
        assert last == f"no loss of this search has a fitness: {why}"
        assert f"No loss has a fitness: {why}" in " ".join(str(result).split())


def slow(expression):
    time.sleep(0.003)
    return by_hash(expression)


class Raced(Fitness):
    """Stops what is below all survivors, as racing does, without a training."""

    bar = -1.0

    def begin_generation(self, rivals, trained):
        self.bar = min((one.evaluation.fitness[0] for one in rivals), default=-1.0)

    def __call__(self, expression):
        found = slow(expression)
        is_below = found.rank and found.rank[0] < self.bar
        return Evaluation("stopped", message=f"below {self.bar}") if is_below else found


def run_slowly(folder, raced=False):
    evaluate = Raced() if raced else slow
    return search(GeneticProgramming(9, **TINY), evaluate, out=folder, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("raced", [False, True])
def test_killed_at_many_moments_the_journal_is_that_of_an_uninterrupted_search(tmp_path, raced):
    whole = run_slowly(tmp_path / "whole", raced)
    assert (whole.generations[-1].stopped > 0) == raced
    context = multiprocessing.get_context("forkserver")
    # What takes seconds to import is imported once, by the server.
    modules = ("loop", "variation", "evolution")
    context.set_forkserver_preload([f"nglkeras.search.{name}" for name in modules])
    moments, kills = dice.Random(0), 0
    # The first start loads everything into the server.
    context.Process(target=print).run()
    while True:
        process = context.Process(target=run_slowly, args=(tmp_path / "killed", raced))
        process.start()
        started = time.perf_counter()
        # The clock starts when the journal does: before that there is nothing to break.
        while not (tmp_path / "killed" / "search.jsonl").exists() and process.is_alive():
            time.sleep(0.001)
            assert time.perf_counter() - started < 60
        # Longer and longer: on a busy machine seconds may bring no progress at all.
        longest = (0.05 + 0.01 * kills) * 1.01**kills
        process.join(moments.uniform(0.0, longest) if kills else longest)
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        assert kills < 300
    assert process.exitcode == 0
    assert kills >= 5
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
