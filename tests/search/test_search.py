"""The search: variation, Algorithm 1, screening, the loop and its journal. Nothing is trained."""

import hashlib
import json
import multiprocessing
import random as dice
import time

import numpy as np
import pytest

from nglkeras import UserError
from nglkeras.experiments.discovery.experiments import wins_and_improvement
from nglkeras.expression import PAPER_A, PAPER_B, Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import PAPER, Evaluation, GeneticProgramming, Screening, Variation, search
from nglkeras.search.evolution import MAX_ATTEMPTS
from nglkeras.search.fitness import cross_entropy
from nglkeras.search.screening import CHECKS, Screen, logits_gradient, screening

NGL = Expression.parse(FORMULAS["NGL"])
TINY = {"population_size": 6, "generations": 4}


def by_hash(expression):
    """A fitness that depends on the formula and on nothing else."""
    digest = hashlib.sha256(str(expression).encode()).digest()
    if digest[0] < 20:
        return Evaluation("crashed", message="by chance")
    return int.from_bytes(digest[:4], "big") / 2**32


def lines(folder, name="search.jsonl"):
    """The journal's records, times aside."""
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


class TestVariation:
    @pytest.mark.parametrize("operators", [PAPER_A, PAPER_B])
    def test_children_keep_the_rules(self, operators):
        variation, random = Variation(operators=operators), np.random.RandomState(0)
        trees = [variation.random_tree(random) for _ in range(30)]
        for i, tree in enumerate(trees):
            for child in (
                variation.crossover(tree, trees[i - 1], random),
                variation.subtree_mutation(tree, random),
                variation.node_mutation(tree, random),
            ):
                assert child.has_both_terminals
                assert child.height >= 2
                assert child.size <= 100
                assert set(child.nodes) - set(operators) <= {"y_true", "y_pred"} | {
                    node for node in child.nodes if isinstance(node, float)
                }

    def test_node_mutation_changes_one_node_for_another_of_its_arity(self):
        variation, random = Variation(), np.random.RandomState(1)
        arity = {name: variation._functions[name].arity for name in PAPER_A}
        for _ in range(100):
            child = variation.node_mutation(NGL, random)
            changed = [(a, b) for a, b in zip(NGL.nodes, child.nodes, strict=True) if a != b]
            assert len(changed) == 1
            old, new = changed[0]
            assert arity.get(old, 0) == arity.get(new, 0)

    def test_exchange_says_what_it_took(self):
        variation, random = Variation(), np.random.RandomState(2)
        for _ in range(50):
            tree, partner = variation.random_tree(random), variation.random_tree(random)
            exchange = variation.exchange(tree, partner, random)
            (first, last), (start, end) = exchange.removed, exchange.donated
            nodes = (*tree.nodes[:first], *partner.nodes[start : end + 1], *tree.nodes[last + 1 :])
            assert exchange.child.nodes == nodes

    def test_a_parent_that_nothing_valid_comes_from_goes_on(self):
        # As small as the rules allow: whatever is exchanged makes it too large or breaks them.
        variation = Variation(max_size=4, depths=(2, 2))
        small = Expression.parse("sin(y_true + y_pred)")
        random = np.random.RandomState(0)
        for _ in range(20):
            assert variation.is_valid(variation.crossover(small, small, random))

    def test_constants_have_four_decimals_in_their_range(self):
        variation, random = Variation(constants=(1.0, 2.0)), np.random.RandomState(0)
        nodes = [n for _ in range(30) for n in variation.random_tree(random).nodes]
        constants = [node for node in nodes if isinstance(node, float)]
        assert len(constants) > 20
        assert all(1 <= c <= 2 and round(c, 4) == c for c in constants)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"operators": ("tan",)}, "unknown operator 'tan'; choose from: add"),
            ({"operators": ("sin",)}, "without an operator of two arguments"),
            ({"max_size": 3}, "no tree of at most 3 nodes"),
            ({"max_size": 101}, "max_size=101; the paper's trees have at most 100"),
            ({"depths": (6, 2)}, r"depths=\(6, 2\) is not a range"),
            ({"constants": (4.0, 0.0)}, "is not a range"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message):
            Variation(**settings)

    def test_a_tree_in_other_operators(self):
        with pytest.raises(UserError, match="unknown operator 'exp'"):
            Variation(operators=PAPER_B).crossover(NGL, NGL, np.random.RandomState(0))


def run(strategy, evaluate=by_hash, order=list):
    """Ask and tell to the end; the individuals in the order in which they were told."""
    history = []
    while not strategy.is_done:
        for individual in order(strategy.ask()):
            outcome = evaluate(individual.expression)
            if not isinstance(outcome, Evaluation):
                outcome = Evaluation("ok", (outcome,))
            history.append(individual)
            strategy.tell(individual, outcome)
    return history


class TestGeneticProgramming:
    def test_the_papers_parameters_are_the_defaults(self):
        parameters = GeneticProgramming().parameters
        assert (parameters.population_size, parameters.generations) == (16, 100)
        assert (parameters.subtree_mutation, parameters.node_mutation) == (0.3, 0.1)
        assert (parameters.crossover, parameters.archive, parameters.archive_crossover) == (
            0.7,
            0.5,
            0.5,
        )

    def test_the_best_of_parents_and_children_survive(self):
        strategy = GeneticProgramming(0, **TINY)
        best, seen = [], {}
        while not strategy.is_done:
            parents = [m.evaluation.rank for m in strategy.population]
            children = []
            for individual in strategy.ask():
                value = by_hash(individual.expression)
                outcome = value if isinstance(value, Evaluation) else Evaluation("ok", (value,))
                children.append(outcome.rank)
                seen[individual.id] = individual
                strategy.tell(individual, outcome)
            survivors = [m.evaluation.rank for m in strategy.population]
            assert survivors == sorted(parents + children, reverse=True)[:6]
            assert len(strategy.archive) <= 6
            best.append(survivors[0])
        assert best == sorted(best)
        assert len(best) == 5
        for individual in seen.values():
            assert all(parent in seen for parent in individual.parents)
            assert len(individual.parents) == (
                0
                if individual.made_by == ("random",)
                else 1 + individual.made_by.count("crossover")
            )

    def test_rates(self):
        strategy = GeneticProgramming(1, population_size=40, generations=25)
        made = [i.made_by for i in run(strategy) if i.generation]
        for name, rate in (("crossover", 0.7), ("subtree_mutation", 0.3), ("node_mutation", 0.1)):
            share = np.mean([name in m for m in made])
            assert share == pytest.approx(rate, abs=0.05)

    def test_partners_come_from_the_archive_about_half_of_the_time(self):
        strategy = GeneticProgramming(2, population_size=30, generations=30)
        archived = others = 0
        while not strategy.is_done:
            alive = {m.individual.id for m in strategy.population}
            for individual in strategy.ask():
                if "crossover" in individual.made_by:
                    archived += individual.parents[1] not in alive
                    others += individual.parents[1] in alive
                value = by_hash(individual.expression)
                strategy.tell(
                    individual,
                    value if isinstance(value, Evaluation) else Evaluation("ok", (value,)),
                )
        assert archived / (archived + others) == pytest.approx(0.5, abs=0.06)

    def test_the_seed_decides_everything_and_the_order_nothing(self):
        def shuffled(individuals):
            return dice.Random(len(individuals)).sample(individuals, len(individuals))

        first = run(GeneticProgramming(3, **TINY))
        again = run(GeneticProgramming(3, **TINY), order=shuffled)
        assert sorted(i.id for i in first) == sorted(i.id for i in again)
        assert {i.id: i for i in first} == {i.id: i for i in again}
        assert first != run(GeneticProgramming(4, **TINY))

    def test_a_discarded_one_is_made_anew(self):
        strategy = GeneticProgramming(0, **TINY)
        individual = strategy.ask()[2]
        strategy.tell(individual, Evaluation("discarded"))
        another = strategy.ask()[2]
        assert (another.index, another.attempt) == (2, 1)
        assert another.expression != individual.expression
        assert another.id == "0-2-1"

    def test_if_everything_is_discarded_it_ends_all_the_same(self):
        strategy = GeneticProgramming(0, population_size=1, generations=1)
        history = run(strategy, lambda expression: Evaluation("discarded"))
        assert len(history) == 2 * (MAX_ATTEMPTS + 1)
        assert strategy.population[0].evaluation.rank == ()

    def test_distinct_survivors(self):
        plain = GeneticProgramming(5, population_size=8, generations=30)
        run(plain)
        distinct = GeneticProgramming(5, population_size=8, generations=30, distinct=True)
        run(distinct)
        formulas = [m.individual.expression for m in distinct.population]
        assert len(set(formulas)) == 8
        assert len({m.individual.expression for m in plain.population}) < 8

    def test_an_answer_that_nobody_asked_for(self):
        strategy = GeneticProgramming(0, **TINY)
        individual = strategy.ask()[0]
        strategy.tell(individual, Evaluation("ok", (1.0,)))
        with pytest.raises(UserError, match="individual 0-0 is not one of those that wait"):
            strategy.tell(individual, Evaluation("ok", (1.0,)))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"crossover": 1.5}, "crossover=1.5 is not a probability"),
            ({"population_size": 0}, "population_size=0 is not a whole number of at least 1"),
            ({"generations": 2.0}, "generations=2.0 is not a whole number"),
            ({"archive": -1}, "archive=-1 is not a probability"),
            ({"size": 3}, "unknown parameter 'size'; choose from: population_size"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message):
            GeneticProgramming(**settings)


class TestFitness:
    def test_experiment_5_compares_as_the_paper_says(self):
        references = {"a": 0.5, "b": 0.8, "c": 0.4}

        def fitness(a, b, c):
            return wins_and_improvement({"a": a, "b": b, "c": c}, references)

        # Of the errors 0.5, 0.2 and 0.6.
        assert fitness(0.55, 0.8, 0.3) == (1.0, pytest.approx(10.0))
        assert fitness(0.55, 0.84, 0.3) == (2.0, pytest.approx((10.0 + 20.0) / 2))
        assert fitness(0.45, 0.78, 0.34) == (0.0, pytest.approx(-10.0))
        # An equal error is no win.
        assert fitness(0.5, 0.8, 0.4) == (0.0, 0.0)
        never, barely = fitness(0.499, 0.799, 0.399), fitness(0.501, 0.1, 0.1)
        assert barely > never
        assert fitness(0.51, 0.81, 0.1) > fitness(0.9, 0.8, 0.4)
        assert fitness(0.6, 0.1, 0.1) > fitness(0.55, 0.79, 0.39)
        assert never > fitness(0.4, 0.7, 0.3)

    def test_errors_and_accuracies_rank_otherwise(self):
        references = {"easy": 0.9, "hard": 0.3}
        on_easy, on_hard = {"easy": 0.95, "hard": 0.2}, {"easy": 0.8, "hard": 0.4}
        for of, better, worse in (("errors", on_easy, on_hard), ("accuracies", on_hard, on_easy)):
            found = [wins_and_improvement(one, references, of) for one in (better, worse)]
            assert found[0] > found[1]
        assert wins_and_improvement(on_easy, references) == (1.0, pytest.approx(50.0))

    @pytest.mark.parametrize(
        ("accuracy", "fitness"), [(1.0, (0.0, 0.0)), (0.9, (0.0, pytest.approx(-10.0)))]
    )
    def test_a_cross_entropy_without_an_error(self, accuracy, fitness):
        assert wins_and_improvement({"a": accuracy}, {"a": 1.0}) == fitness

    def test_cross_entropy_is_keras_s(self):
        import keras

        t, p = np.eye(4)[[0, 1, 3]], np.random.default_rng(0).dirichlet(np.ones(4), 3)
        ours = cross_entropy(4)(t, p).mean()
        assert ours == pytest.approx(float(keras.losses.CategoricalCrossentropy()(t, p)), rel=1e-5)


class TestScreening:
    def test_the_papers_losses_pass(self):
        screen = Screen()
        for name, formula in FORMULAS.items():
            assert screen.judge(Expression.parse(formula)).status == "new", name
            screen.remember(name, Expression.parse(formula))

    @pytest.mark.parametrize(
        ("formula", "status", "message"),
        [
            (FORMULAS["NGL"], "twin", "duplicate"),
            ("exp(2.4092 - (y_true + 1)*y_pred) - cos(cos(sin(y_pred)))", "twin", "equal"),
            # Twice the loss, and 3p, whose sum over the classes is constant.
            (f"2*({FORMULAS['NGL']}) + 3*y_pred", "twin", "gradient"),
            (f"1.5*({FORMULAS['NGL']}) - y_pred**2*0.01", "new", ""),
            ("y_true*y_pred", "discarded", "values below 1e-05"),
            ("y_true*y_pred*1e7 + 1", "discarded", "values beyond 100000"),
            ("exp(y_pred/y_true)", "discarded", "values beyond 100000"),
            ("y_pred**2 + y_true*0.1", "rejected", "its gradient does not favour the true class"),
            ("y_true*y_pred + 1", "rejected", "its gradient does not favour the true class"),
            ("2 - y_true*y_pred", "new", ""),
        ],
    )
    def test_verdicts(self, formula, status, message):
        screen = Screen()
        screen.remember("ngl", NGL)
        verdict = screen.judge(Expression.parse(formula))
        assert (verdict.status, verdict.message) == (status, message)
        assert verdict.twin == ("ngl" if status == "twin" else "")

    @pytest.mark.parametrize(
        ("changes", "formula"),
        [
            ({"duplicates": False, "equals": False, "gradients": "off"}, FORMULAS["NGL"]),
            (
                {"equals": False, "gradients": "off"},
                "exp(2.4092 - (y_true + 1)*y_pred) - cos(cos(sin(y_pred)))",
            ),
            ({"gradients": "exact"}, f"2*({FORMULAS['NGL']})"),
            ({"rejection": False}, "y_true*y_pred + 1"),
            ({"bounds": None}, "y_true*(-y_pred)"),
        ],
    )
    def test_each_can_be_switched_off(self, changes, formula):
        screen = Screen(Screening(**changes))
        screen.remember("ngl", NGL)
        assert screen.judge(Expression.parse(formula)).status == "new"

    def test_exact_gradients_for_sgd(self):
        screen = Screen(Screening(gradients="exact"))
        screen.remember("ngl", NGL)
        verdict = screen.judge(Expression.parse(f"{FORMULAS['NGL']} + 3*y_pred"))
        assert (verdict.status, verdict.message) == ("twin", "gradient")

    def test_gradients_of_other_scales_are_no_twins(self):
        """Adam's ε tells them apart."""
        screen = Screen()
        screen.remember("ce", cross_entropy(10))
        tiny = "-0.001*(y_true*log(y_pred))"
        assert screen.judge(Expression.parse(tiny)).status == "new"
        assert screen.judge(Expression.parse(f"1000*({tiny})")).message == "gradient"

    def test_the_papers_search_screens_nothing_but_the_bounds(self):
        screen = Screen(PAPER)
        screen.remember("ngl", NGL)
        assert screen.judge(NGL).status == "new"
        assert screen.judge(Expression.parse("y_true*y_pred")).status == "discarded"

    def test_values_of_the_fresh_model_count(self):
        screen = Screen(values=lambda expression: np.array([1e9]))
        assert screen.judge(NGL).status == "discarded"

    def test_gradient_by_the_logits(self):
        z, t, h = np.random.default_rng(0).normal(size=(3, 4)), np.eye(4)[[0, 1, 3]], 1e-6

        def loss(z):
            p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
            return NGL(t, p).mean(-1)

        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        for i in range(4):
            step = h * np.eye(4)[i]
            numeric = (loss(z + step) - loss(z - step)) / (2 * h)
            np.testing.assert_allclose(logits_gradient(NGL, t, p)[:, i], numeric, rtol=1e-6)

    @pytest.mark.parametrize("bounds", [(1.0,), (2, 1), (-1, 1), (1, float("nan")), 3, "ab"])
    def test_bad_bounds(self, bounds):
        with pytest.raises(UserError, match="are not two numbers LOW and HIGH"):
            Screening(bounds=bounds)

    def test_by_the_names_of_checks(self):
        assert screening(CHECKS, gradients="scaled") == Screening()
        assert screening(["equals"]) == Screening(
            duplicates=False, gradients="off", rejection=False
        )
        with pytest.raises(UserError, match="unknown check 'all'; choose from: duplicates"):
            screening(["all"])

    def test_bad_gradients(self):
        with pytest.raises(UserError, match="unknown gradients 'some'; choose from: scaled"):
            Screening(gradients="some")


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
        family = result.ancestors(result.population[0].individual.id)
        assert any(record.individual.made_by == ("random",) for record in family.values())

    def test_same_seed_same_journal_and_the_order_changes_nothing(self, tmp_path):
        def shuffled(individuals):
            return dice.Random(7).sample(individuals, len(individuals))

        populations = []
        for name, order in (("a", None), ("b", None), ("c", shuffled)):
            result = search(
                GeneticProgramming(1, **TINY), by_hash, out=tmp_path / name, order=order, quiet=True
            )
            populations.append(result.population)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")
        by_id = [{row["id"]: row for row in lines(tmp_path / name)[1:]} for name in ("a", "c")]
        assert by_id[0] == by_id[1]
        assert populations[0] == populations[1] == populations[2]

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
        "settings", [{"classes": 1}, {"classes": -1}, {"classes": "3"}, {"screening": "paper"}]
    )
    def test_settings_that_cannot_be(self, tmp_path, settings):
        with pytest.raises(UserError, match=r"is not a whole number|is of type str"):
            search(GeneticProgramming(0), lambda e: 0.5, out=tmp_path, quiet=True, **settings)
        assert not list(tmp_path.iterdir())

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


def slow(expression):
    time.sleep(0.003)
    return by_hash(expression)


def run_slowly(folder):
    search(GeneticProgramming(9, **TINY), slow, out=folder, quiet=True)


@pytest.mark.slow
def test_killed_at_many_moments_the_journal_is_that_of_an_uninterrupted_search(tmp_path):
    run_slowly(tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    # What takes seconds to import is imported once, by the server.
    modules = ("loop", "variation", "fitness", "experiments")
    context.set_forkserver_preload([f"nglkeras.search.{name}" for name in modules])
    moments, kills = dice.Random(0), 0
    # The first start loads everything into the server.
    context.Process(target=print).run()
    while True:
        process = context.Process(target=run_slowly, args=(tmp_path / "killed",))
        process.start()
        started = time.perf_counter()
        # The clock starts when the journal does: before that there is nothing to break.
        while not (tmp_path / "killed" / "search.jsonl").exists() and process.is_alive():
            time.sleep(0.001)
            assert time.perf_counter() - started < 60
        # Longer and longer: on a busy machine a twentieth of a second may bring no progress at all.
        process.join(moments.uniform(0.0, 0.05 + 0.01 * kills) if kills else 0.05)
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        assert kills < 300
    assert process.exitcode == 0
    assert kills >= 5
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
