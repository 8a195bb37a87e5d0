"""The page of a result, for a terminal and a notebook, and the table of its losses."""

from html.parser import HTMLParser

import pytest
from search_tools import TINY, by_hash

from nglkeras.expression import Expression
from nglkeras.search import PAPER, Evaluation, GeneticProgramming, Individual, presentation, search
from nglkeras.search.records import SAVED

LONG = " + ".join(f"{c}*sin({c + 1}*y_true*y_pred)" for c in range(2, 12))


def run(out, evaluate=by_hash, **options):
    return search(GeneticProgramming(0, **TINY), evaluate, out=out, quiet=True, **options)


class Page(HTMLParser):
    """Texts of the elements by their tag; `open` are those without an end."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts = [], {}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        for tag in self.open:
            self.texts[tag][-1] += text


class TestPage:
    def test_is_one_page_of_80_columns(self, tmp_path):
        result = run(tmp_path)
        lines = str(result).splitlines()
        assert len(lines) < 35
        assert max(map(len, lines)) <= 80
        assert repr(result) == str(result)
        for rank, best in enumerate(result.best_losses(5), start=1):
            (i,) = [i for i, line in enumerate(lines) if line.split()[:1] == [str(rank)]]
            simple = best.simplified
            smaller = ["->", str(simple.size)] if simple.size < best.size else []
            cells = [f"{best.fitness[0]:.4f}", str(best.size), *smaller, best.id]
            assert lines[i].split()[1 : len(cells) + 1] == cells
            formula = lines[i + 1].strip().removesuffix("...")
            assert (
                best.formula if len(best.formula) < len(str(simple)) else str(simple)
            ).startswith(formula)
        smaller = str(result).split("Smaller losses")[1].splitlines()[1:]
        ids = {best.id for best in result.best_losses(5)}
        assert [one.id for one in result.front if one.id not in ids][::-1][0] in smaller[0].split()

    def test_counts_what_was_trained_spared_and_failed(self, tmp_path):
        result = run(tmp_path)
        last, text = result.generations[-1], " ".join(str(result).split())
        assert f"{last.asked} losses asked for: {last.trained} trained" in text
        assert f"({last.failed} failed)" in text
        assert f"{sum(last.saved.values())} spared (" in text
        assert f"{last.saved['rejected']} rejected" in text
        assert f"{last.discarded} discarded" in text
        assert f"Trainings that failed: {last.failed} crashed, such as: by chance" in text
        assert set(SAVED) == set(presentation.SPARED)

    def test_a_long_formula_stands_whole_below(self, tmp_path):
        class Long(GeneticProgramming):
            def propose(self):
                return [Individual(Expression.parse(LONG), 0, 0, made_by=("random",))]

        strategy = Long(0, population_size=1, generations=0)
        result = search(strategy, by_hash, out=tmp_path, screening=PAPER, quiet=True)
        assert max(map(len, str(result).splitlines())) <= 80
        assert "The best in full: 2*sin(3*" in str(result)
        found = str(result).split("The best in full:")[1].split("\n\n")[0]
        assert Expression.parse(" ".join(found.split())).size == Expression.parse(LONG).size

    def test_says_why_nothing_has_a_fitness(self, tmp_path):
        def evaluate(expression):
            return Evaluation("exploded", message="<b>too much</b>")

        result = run(tmp_path, evaluate, screening=PAPER)
        assert "No loss has a fitness: 30 exploded, such as: <b>too much</b>" in str(result)
        assert "&lt;b&gt;too much&lt;/b&gt;" in result._repr_html_()
        assert "result.best_losses()" not in str(result)

    def test_html_has_the_same_rows(self, tmp_path):
        result = run(tmp_path)
        page = Page(result._repr_html_())
        assert page.open == []
        best = result.best_losses(5)
        for i, one in enumerate(best):
            row = page.texts["tr"][1 + i]
            for part in (one.id, f"{one.fitness[0]:.4f}", presentation.origin(one.individual)):
                assert part in row
        assert len(page.texts["code"]) == len(page.texts["tr"]) - page.texts["th"].count("id") + 1


@pytest.mark.parametrize(
    ("made_by", "parents", "text"),
    [
        (("random",), (), "random tree"),
        (("seed",), (), "known loss"),
        ((), ("3-1",), "copy of 3-1"),
        (("crossover",), ("3-1", "2-4"), "crossover of 3-1 and 2-4"),
        (("crossover", "node_mutation"), ("3-1", "2-4"), "crossover of 3-1 and 2-4, node mutation"),
        (("subtree_mutation", "node_mutation"), ("3-1",), "subtree mutation of 3-1, node mutation"),
        (("unit coefficients",), (), "unit coefficients"),
    ],
)
def test_origin(made_by, parents, text):
    individual = Individual(Expression.parse("y_pred"), 4, 0, 0, parents, made_by)
    assert presentation.origin(individual) == text


@pytest.mark.parametrize(
    ("fitness", "accuracies", "spread"),
    [
        ((0.5,), [0.4, 0.6], pytest.approx(0.1 * 2**0.5)),
        ((0.5,), {"digits": [0.5, 0.7], "mnist": [0.3, 0.5]}, pytest.approx(0.1 * 2**0.5)),
        ((0.5,), [0.5], None),
        ((0.5,), {"digits": [0.5], "mnist": [0.5]}, None),
        ((0.5,), {"digits": [0.5], "mnist": [0.4, 0.6]}, None),
        ((0.5,), {}, None),
        # The fitness is something else.
        ((0.7,), [0.4, 0.6], None),
        ((1.0, 0.5), [0.4, 0.6], None),
        ((0.5,), "many", None),
        ((0.5,), {"digits": "many"}, None),
        ((0.5,), None, None),
    ],
)
def test_spread(fitness, accuracies, spread):
    evaluation = Evaluation("ok", fitness, details={"accuracies": accuracies})
    assert presentation.spread(evaluation) == spread


class TestTable:
    def test_has_a_row_for_each_loss(self, tmp_path):
        result = run(tmp_path)
        table = result.table().set_index("id")
        assert list(table.index) == list(result.records)
        best = result.best_losses(1)[0]
        row = table.loc[best.id]
        assert (row["fitness"], row["formula"], row["size"]) == (
            best.fitness[0],
            best.formula,
            best.size,
        )
        assert table["fitness"].max() == best.fitness[0]
        for record in result.records.values():
            row = table.loc[record.individual.id]
            assert row["parents"].split(", ") == list(record.individual.parents or [""])
            assert (row["status"], row["twin"]) == (record.evaluation.status, record.twin)
            assert row["height"] == record.individual.expression.height
        counts = table["why"].value_counts()
        assert {kind: counts.get(kind, 0) for kind in SAVED} == result.generations[-1].saved

    def test_several_numbers_have_several_columns(self, tmp_path):
        def evaluate(expression):
            outcome = by_hash(expression)
            return Evaluation(outcome.status, outcome.fitness and (1.0, *outcome.fitness))

        table = run(tmp_path, evaluate).table()
        assert "fitness" not in table
        assert set(table["fitness_1"].dropna()) == {1.0}
        assert table["fitness_2"].notna().equals(table["status"] == "ok")

    def test_of_nothing(self, tmp_path):
        table = run(tmp_path, lambda expression: Evaluation("non_finite")).table()
        assert table["fitness"].isna().all()
