"""The result of a search, and how it is read from a journal without a training."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from conftest import ROOT
from search_tools import TINY, by_hash

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.search import (
    GLO,
    PAPER,
    CoefficientSearch,
    Evaluation,
    GeneticProgramming,
    Individual,
    Result,
    Strategy,
    search,
)
from nglkeras.search.coefficients import SCREENING

BAIKAL = Expression.parse("-(log(y_pred) - y_true/y_pred)")
GP = partial(GeneticProgramming, 3, **TINY)
STRATEGIES = {
    "GP": (GP, None),
    "paper A": (partial(GP, distinct=False, parsimony=False), PAPER),
    "adapted": (partial(GP, adaptation="success_history"), None),
    "GLO": (partial(GLO, 1, population_size=24, generations=3), None),
    "CMA": (partial(CoefficientSearch, BAIKAL, 1, generations=3), SCREENING),
}


def interrupted_after(count):
    def evaluate(expression):
        evaluate.count += 1
        if evaluate.count > count:
            raise KeyboardInterrupt
        return by_hash(expression)

    evaluate.count = 0
    return evaluate


class TestLoad:
    @pytest.mark.parametrize("name", STRATEGIES)
    def test_is_the_result_of_the_search(self, tmp_path, name):
        make, screening = STRATEGIES[name]
        result = search(make(), by_hash, out=tmp_path, screening=screening, quiet=True)
        assert Result.load(tmp_path) == result

    def test_an_interrupted_one_is_that_of_its_last_whole_generation(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            search(GP(), interrupted_after(9), out=tmp_path, screening=PAPER, quiet=True)
        short = partial(GP, generations=0)
        shorter = search(short(), by_hash, out=tmp_path / "a", screening=PAPER, quiet=True)
        result = Result.load(tmp_path)
        assert result.population == shorter.population
        assert result.generations == shorter.generations
        assert "Unfinished: 3 of 6 losses of generation 1 are evaluated; the same call" in str(
            result
        )
        # What is evaluated already counts for the best.
        assert sum(record.evaluation.rank != () for record in result.records.values()) > 6 - 2
        best = max(record.evaluation.rank for record in result.records.values())
        assert result.best_losses(1)[0].fitness == best

    @pytest.mark.parametrize("whole", [0, 2])
    def test_one_that_stopped_between_generations_says_that_its_end_is_unknown(
        self, tmp_path, whole
    ):
        def stop(generation):
            if generation.number == whole:
                raise KeyboardInterrupt

        search(GP(generations=0), by_hash, out=tmp_path, quiet=True)
        (tmp_path / "best.json").unlink()
        with pytest.raises(KeyboardInterrupt):
            search(GP(), by_hash, out=tmp_path, on_generation=stop, quiet=True)
        result = Result.load(tmp_path)
        assert result.generations[-1].number == whole
        assert result.ending.startswith("whether the search has ended is not recorded")

    def test_needs_no_keras_and_table_alone_needs_pandas(self, tmp_path):
        search(GP(), by_hash, out=tmp_path, quiet=True)
        code = (
            "import sys; from nglkeras.search import Result\n"
            f"result = Result.load({str(tmp_path)!r})\n"
            "str(result), result._repr_html_(), result.best_losses()[0].latex\n"
            "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    def test_a_strategy_of_one_s_own(self, tmp_path):
        @dataclass
        class Parameters:
            generations: int = 2
            width: float = 1

        class Own(Strategy):
            parameters_class = Parameters

            def __init__(self, start, seed=0, **parameters):
                super().__init__(seed, **parameters)
                self.start = start

            def propose(self):
                for i in range(3):
                    formula = f"y_true*y_pred*{self.start + self.generation + i}"
                    yield Individual(Expression.parse(formula), self.generation, i)

        result = search(Own(2), by_hash, out=tmp_path, quiet=True)
        with pytest.raises(UserError, match=r"the strategy Own of .* give a fresh one"):
            Result.load(tmp_path)
        assert Result.load(tmp_path, Own(2)) == result

    def test_no_search(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot read .*search.jsonl"):
            Result.load(tmp_path)
        (tmp_path / "search.jsonl").write_text("")
        with pytest.raises(UserError, match="has lost its first line, the settings"):
            Result.load(tmp_path)

    def test_two_searches_in_one_journal(self, tmp_path):
        make = [partial(GeneticProgramming, seed, **TINY) for seed in (0, 1)]
        paths = [tmp_path / name / "search.jsonl" for name in ("a", "b")]
        for strategy, path in zip(make, paths, strict=True):
            search(strategy(), by_hash, out=path.parent, quiet=True)
        whole = paths[0].read_text()
        # Those of one search may be there twice, as two machines have written them.
        paths[0].write_text(whole + whole)
        assert Result.load(tmp_path / "a").settings["seed"] == 0
        # A failure of the other machine replaces no fitness.
        rows = [json.loads(line) for line in whole.splitlines()]
        slow = [row | {"status": "timeout", "fitness": []} for row in rows if row.get("fitness")]
        paths[0].write_text("\n".join([whole, *map(json.dumps, slow)]))
        again = search(make[0](), by_hash, out=tmp_path / "a", quiet=True)
        assert again.best == Result.load(tmp_path / "a").best
        paths[0].write_text(whole + paths[1].read_text())
        for again in (Result.load, lambda out: search(make[0](), by_hash, out=out, quiet=True)):
            with pytest.raises(UserError, match="holds two searches: put each into a folder"):
                again(tmp_path / "a")

    def test_files_from_elsewhere_are_only_read(self, tmp_path):
        search(GP(generations=1), by_hash, out=tmp_path, quiet=True)
        path = tmp_path / "search.jsonl"
        header, *rows = map(json.loads, path.read_text().splitlines())
        header["settings"]["seed"] = "\x1b[2J"
        for row in rows:
            row |= {"message": "a\n\x1b[2Jb", "made_by": ["\x1b[2J"]}
        path.write_text("\n".join(map(json.dumps, (header, *rows))))
        (tmp_path / "best.json").write_text(json.dumps({"ending": "\x1b[2J"}))
        result = Result.load(tmp_path, GP(generations=1))
        assert "\x1b" not in str(result) + result._repr_html_() + result.failures
        rows[-1]["generation"] = 2**60
        path.write_text("\n".join(map(json.dumps, (header, *rows))))
        with pytest.raises(UserError, match="the journal has no loss of generation 2"):
            Result.load(tmp_path, GP())

    @pytest.mark.parametrize("content", ["[]", "{", '{"class_reduction": "product"}'])
    def test_a_broken_best_file_changes_nothing(self, tmp_path, content):
        result = search(GP(), by_hash, out=tmp_path, quiet=True)
        (tmp_path / "best.json").write_text(content)
        assert Result.load(tmp_path) == result


class TestBestLosses:
    def test_a_loss_for_keras(self, tmp_path):
        by_hash_of_sums = partial(by_hash)
        by_hash_of_sums.settings, by_hash_of_sums.class_reduction = {}, "sum"
        search(GP(), by_hash_of_sums, out=tmp_path, quiet=True)
        best, *_ = Result.load(tmp_path).best_losses()
        content = json.loads((tmp_path / "best.json").read_text())
        assert (best.formula, best.latex) == (content["formula"], content["latex"])
        assert (best.id, [*best.fitness]) == (content["id"], content["fitness"])
        assert best.size == best.expression.size
        assert best.loss().class_reduction == "sum"
        assert best.loss(class_reduction="mean", from_logits=True).from_logits
        y_true, y_pred = np.eye(3), np.full((3, 3), 1 / 3)
        found = best.loss(reduction=None)(y_true, y_pred)
        assert np.asarray(found) == pytest.approx(best.expression(y_true, y_pred).sum(axis=1))
        assert best.formula in repr(best)
        assert len(repr(best)) < len(best.formula) + 60

    def test_losses_of_the_same_evaluation_are_one_and_the_survivor_stands_for_them(self, tmp_path):
        result = search(GP(), by_hash, out=tmp_path, quiet=True)
        first = next(r for r in result.records.values() if r.evaluation.rank and not r.twin)
        twin = replace(
            first,
            individual=replace(first.individual, expression=BAIKAL, index=99),
            twin=first.individual.id,
            why="equal",
        )
        records = {**result.records, twin.individual.id: twin}
        without = replace(result, records=records, population=())
        assert str(first.individual.expression) in [one.formula for one in without.best_losses(99)]
        assert str(BAIKAL) not in [one.formula for one in without.best_losses(99)]
        survives = replace(without, population=(twin,))
        assert str(BAIKAL) in [one.formula for one in survives.best_losses(99)]
        assert len(survives.best_losses(99)) == len(without.best_losses(99))

    def test_of_nothing(self, tmp_path):
        def evaluate(expression):
            return Evaluation("non_finite", message="the loss left the finite numbers")

        result = search(GP(), evaluate, out=tmp_path, screening=PAPER, quiet=True)
        assert result.best_losses() == []
        with pytest.raises(UserError, match=r"no loss .* has a fitness: 30 non_finite, such as: t"):
            _ = result.best
