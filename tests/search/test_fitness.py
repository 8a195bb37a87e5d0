"""The base class of fitnesses, and functions in its place."""

import contextlib

import numpy as np
import pytest
from search_tools import TINY, lines

from nglkeras import UserError, executors
from nglkeras.search import Evaluation, Fitness, GeneticProgramming, Result, Screening, search
from nglkeras.search.fitness import as_evaluation, as_fitness


class Shortness(Fitness):
    """Short formulas are good."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, expression):
        return -self.factor * expression.size


class Full(Fitness):
    """Every hook has its own answer."""

    classes = 3
    gradients = "off"
    bounds = (1e-3, 1e3)
    class_reduction = "sum"

    def __init__(self):
        self.calls = []
        self.settings = {"kind": "full"}

    def __call__(self, expression):
        return Evaluation("ok", (1.0, float(expression.size)))

    def values(self, expression):
        self.calls.append("values")
        return np.ones(2)

    def prepare(self):
        self.calls.append("prepare")

    @contextlib.contextmanager
    def writing(self):
        self.calls.append("writing")
        yield
        self.calls.append("written")

    def as_begun(self, settings):
        self.calls.append(settings)


def run(evaluate, out, **options):
    return search(GeneticProgramming(0, **TINY), evaluate, out=out, quiet=True, **options)


def settings(folder):
    return lines(folder)[0]["settings"]


class TestFitness:
    def test_only_a_call_is_needed(self, tmp_path):
        result = run(Shortness(), tmp_path)
        assert result.generations[-1].asked == 30
        found = settings(tmp_path)
        assert found["evaluate"].keys() == {"function", "code"}
        assert found["evaluate"]["function"] == "Shortness"
        assert (found["classes"], found["screening"]["gradients"]) == (10, "exact")

    def test_its_settings_identify_it(self, tmp_path):
        run(Shortness(), tmp_path)
        run(Shortness(), tmp_path)
        with pytest.raises(UserError, match="another evaluate: code"):
            run(Shortness(2.0), tmp_path)

    def test_every_hook_is_used(self, tmp_path):
        fitness = Full()
        run(fitness, tmp_path)
        assert fitness.calls[0] == "writing"
        assert fitness.calls[1:3] == ["prepare", "values"]
        assert fitness.calls[-1] == "written"
        found = settings(tmp_path)
        assert (found["evaluate"], found["classes"]) == ({"kind": "full"}, 3)
        assert found["screening"]["bounds"] == [1e-3, 1e3]
        assert found["screening"]["gradients"] == "off"
        assert '"class_reduction": "sum"' in (tmp_path / "best.json").read_text()
        again = Full()
        run(again, tmp_path)
        # A finished search needs no data.
        assert again.calls == ["writing", {"kind": "full"}, "written"]
        # The journal knows that losses are sums, also where no best.json is written yet.
        (tmp_path / "best.json").unlink()
        assert Result.load(tmp_path).best_losses(1)[0].class_reduction == "sum"

    def test_early_journals_do_not_say_that_losses_are_sums(self, tmp_path):
        run(Full(), tmp_path)
        path = tmp_path / "search.jsonl"
        text = path.read_text()
        assert text.count('"class_reduction": "sum"') == 1
        path.write_text(text.replace(', "class_reduction": "sum"', ""))
        run(Full(), tmp_path)
        assert Result.load(tmp_path).class_reduction == "sum"

    @pytest.mark.slow
    def test_the_same_on_workers(self, tmp_path):
        run(Shortness(), tmp_path / "local")
        with executors.make("processes", workers=2) as executor:
            run(Shortness(), tmp_path / "processes", executor=executor)
        journals = [lines(tmp_path / name) for name in ("local", "processes")]
        assert journals[0][0] == journals[1][0]
        by_id = [{row["id"]: row for row in rows[1:]} for rows in journals]
        assert by_id[0] == by_id[1]

    @pytest.mark.parametrize("soft", [False, True])
    def test_soft_labels_tell_powers_apart(self, tmp_path, soft):
        fitness = Shortness()
        fitness.soft_labels = soft
        seeds = ["-(y_true*log(y_pred))", "-(y_true*y_true*log(y_pred))"]
        result = run(fitness, tmp_path, seeds=seeds)
        assert bool(result.records["0-1"].twin) == (not soft)

    def test_workers_see_what_hooks_have_changed(self, tmp_path):
        class Changing(Fitness):
            bonus, generation = 0.0, -1

            def prepare(self):
                self.bonus = 100.0

            def begin_generation(self, rivals, trained):
                self.generation += 1

            def __call__(self, expression):
                return expression.size + self.bonus + 1000 * self.generation

        found = []
        for name, workers in (("local", None), ("processes", 1)):
            with executors.make(name, workers=workers) as executor:
                result = run(Changing(), tmp_path / name, executor=executor)
            found.append([(one.id, one.fitness) for one in result.best_losses(9)])
        assert found[0] == found[1]


class TestFunctions:
    def test_may_have_attributes_of_a_fitness(self, tmp_path):
        def evaluate(expression):
            return float(expression.size)

        evaluate.classes, evaluate.bounds, evaluate.settings = 4, None, {"rate": 1}
        run(evaluate, tmp_path)
        found = settings(tmp_path)
        assert (found["classes"], found["evaluate"]) == (4, {"rate": 1})
        assert found["screening"]["bounds"] is None

    def test_are_wrapped_once(self):
        fitness = as_fitness(len)
        assert as_fitness(fitness) is fitness

    def test_a_screening_of_one_s_own(self, tmp_path):
        run(Shortness(), tmp_path, screening=Screening(rejection=False))
        found = settings(tmp_path)
        assert (found["classes"], found["screening"]["rejection"]) == (10, False)

    @pytest.mark.parametrize("gradients", ["exact", "scaled"])
    def test_a_screening_of_one_s_own_takes_the_gradients_of_the_fitness(self, gradients, tmp_path):
        """Under SGD ten times a loss is another one."""

        class Counts(Shortness):
            def __call__(self, expression):
                return float("10" in str(expression))

        evaluate = Counts()
        evaluate.gradients = gradients
        seeds = ["-(y_true*log(y_pred))", "-10*(y_true*log(y_pred))"]
        strategy = GeneticProgramming(0, population_size=2, generations=0)
        how = {"screening": Screening(bounds=None), "seeds": seeds, "quiet": True}
        result = search(strategy, evaluate, out=tmp_path, **how)
        assert result.best_losses(1)[0].fitness == (float(gradients == "exact"),)
        assert settings(tmp_path)["screening"]["gradients"] == gradients

    def test_an_object_that_distributes_trainings_must_be_a_fitness(self):
        class Own:
            def each(self, expressions, names):
                yield 0, 1.0

        with pytest.raises(UserError, match="Own has a method each"):
            as_fitness(Own())

    def test_what_cannot_be_called(self):
        with pytest.raises(UserError, match="evaluate is of type int; give a function"):
            as_fitness(3)


@pytest.mark.parametrize("fitness", [(-1e308,), (0.5, np.nan), (np.inf,), ()])
def test_a_fitness_that_the_journal_cannot_hold_is_not_finite(fitness):
    found = as_evaluation(Evaluation("ok", fitness, seconds=np.nan))
    assert (found.status, found.fitness, found.seconds) == ("non_finite", (), 0.0)


@pytest.mark.parametrize(("message", "text"), [(None, ""), (ValueError("x"), "x")])
def test_a_message_of_any_kind_is_a_text(message, text):
    assert as_evaluation(Evaluation("crashed", message=message)).message == text
