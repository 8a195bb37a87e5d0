"""Success-history adaptation of the rates."""

from functools import partial

import numpy as np
import pytest
from search_tools import TINY, by_hash, interrupt_and_resume, lines, run

from nglkeras import UserError
from nglkeras.search import PAPER, Evaluation, GeneticProgramming, Result, search
from nglkeras.search.adaptation import ENTRIES, Success, SuccessHistory
from nglkeras.search.evolution import RATES

BEGIN = {"crossover": 0.7, "node_mutation": 0.1}
make = partial(GeneticProgramming, adaptation="success_history")


class TestSuccessHistory:
    def test_the_means_are_those_of_the_paper(self):
        history = SuccessHistory(BEGIN)
        history.learn(
            [
                Success({"crossover": 0.2, "node_mutation": 0.2}, 1.0),
                Success({"crossover": 0.6, "node_mutation": 0.4}, 3.0),
            ]
        )
        # Weights 1/4 and 3/4; Σ w F² / Σ w F = (0.01 + 0.12) / (0.05 + 0.3).
        assert history.entries[0] == {"crossover": 0.5, "node_mutation": 0.3714}
        assert history.entries[1:] == [BEGIN] * (ENTRIES - 1)

    def test_entries_are_replaced_in_turn(self):
        history = SuccessHistory(BEGIN)
        for number in range(ENTRIES + 1):
            history.learn([Success({"crossover": number / 10, "node_mutation": 0.0}, 1.0)])
            history.learn([])
        found = [entry["crossover"] for entry in history.entries]
        assert found == [ENTRIES / 10, *(number / 10 for number in range(1, ENTRIES))]
        assert history.entries[0]["node_mutation"] == 0

    def test_what_had_no_success_keeps_its_rate(self):
        history = SuccessHistory(BEGIN)
        history.learn([Success({"crossover": 0.5}, 1.0)])
        assert history.entries[0] == {"crossover": 0.5, "node_mutation": 0.1}

    def test_draws(self):
        history = SuccessHistory({"crossover": 0.9, "node_mutation": 0.5})
        random = np.random.RandomState(0)
        drawn = [history.draw(random) for _ in range(4000)]
        crossover = np.array([one["crossover"] for one in drawn])
        mutation = np.array([one["node_mutation"] for one in drawn])
        # Normal with σ = 0.1 around 0.9, cut off at 1.
        assert np.quantile(crossover, [0.16, 0.5]) == pytest.approx([0.8, 0.9], abs=0.01)
        assert (crossover == 1).mean() == pytest.approx(0.16, abs=0.02)
        # Cauchy with scale 0.1, whose quartiles are 0.1 from its median; none is 0 or below.
        cauchy = [0.41, 0.51, 0.61]
        assert np.quantile(mutation, [0.25, 0.5, 0.75]) == pytest.approx(cauchy, abs=0.02)
        assert (mutation.min() > 0, mutation.max()) == (True, 1)


class TestGeneticProgramming:
    def test_children_have_rates_of_their_own_and_the_first_ones_none(self):
        told = run(make(0, **TINY))
        for individual in told:
            assert tuple(individual.rates) == (RATES if individual.generation else ())
        assert len({one.rates["crossover"] for one in told if one.generation}) > 10
        assert not any(one.rates for one in run(GeneticProgramming(0, **TINY)))

    @pytest.mark.parametrize("better", [True, False])
    def test_rates_follow_success(self, better):
        """If crossovers make better children than mutations do, they become frequent."""

        def evaluate(individual):
            crossed = "crossover" in individual.made_by
            return Evaluation("ok", (individual.generation * float(crossed == better),))

        strategy = make(0, population_size=12, generations=50, crossover=0.5)
        while not strategy.is_done:
            for individual in strategy.ask():
                strategy.tell(individual, evaluate(individual))
        mean = np.mean([entry["crossover"] for entry in strategy.history.entries])
        assert (mean > 0.6) if better else (mean < 0.4)

    def test_the_rate_of_archiving_is_credited_to_the_archived(self):
        strategy, credited = make(0, population_size=12, generations=12, archive=0.3), set()
        while not strategy.is_done:
            archived = {member.individual.id: member.individual for member in strategy.archive}
            parents = {m.individual.id: m.evaluation.rank for m in strategy.population}
            number, pairs = strategy.history.next, []
            for individual in strategy.ask():
                outcome = Evaluation("ok", by_hash(individual.expression).rank or (0.0,))
                strategy.tell(individual, outcome)
                partners = [archived[i] for i in individual.parents[1:] if i in archived]
                if partners and outcome.rank > parents[individual.parents[0]]:
                    gain = outcome.rank[0] - parents[individual.parents[0]][0]
                    pairs.append((partners[0].rates.get("archive", 0.3), gain))
            credited |= {rate for rate, _ in pairs}
            found = strategy.history.entries[number]["archive"]
            total = sum(gain for _, gain in pairs)
            wanted = sum(rate * gain for rate, gain in pairs) / total if pairs else 0.3
            assert found == pytest.approx(wanted, abs=1e-4)
        assert len(credited) > 2

    @pytest.mark.parametrize("stop", [3, 14, 20])
    def test_interrupted_resumed_and_read_it_is_the_same_search(self, tmp_path, stop):
        interrupt_and_resume(partial(make, 1, **TINY), by_hash, tmp_path, stop, screening=PAPER)
        header, *rows = lines(tmp_path / "b")
        assert header["settings"]["adaptation"] == "success_history"
        assert all(("rates" in row) == (row["generation"] > 0) for row in rows)
        again = search(make(1, **TINY), by_hash, out=tmp_path / "a", screening=PAPER, quiet=True)
        assert Result.load(tmp_path / "b").population == again.population

    def test_is_a_setting_only_where_it_is_used(self, tmp_path):
        search(GeneticProgramming(0, **TINY), by_hash, out=tmp_path, quiet=True)
        header, *rows = lines(tmp_path)
        assert "adaptation" not in header["settings"]
        assert not any("rates" in row for row in rows)
        with pytest.raises(UserError, match=r"other settings \(adaptation None, not success_h"):
            search(make(0, **TINY), by_hash, out=tmp_path, quiet=True)

    def test_mistakes(self):
        with pytest.raises(UserError, match="unknown adaptation 'shade'; choose from: success_"):
            GeneticProgramming(adaptation="shade")
