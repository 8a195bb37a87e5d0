"""Random trees, crossover and mutation."""

import numpy as np
import pytest
from search_tools import NGL

from nglkeras import UserError
from nglkeras.expression import PAPER_A, PAPER_B, Expression
from nglkeras.search import Variation


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
            ({"max_size": 50.5}, "max_size=50.5 is not a whole number of at least 1"),
            ({"min_height": None}, "min_height=None is not a whole number"),
            ({"operators": None}, "operators=None are no names of operators"),
            ({"depths": (6, 2)}, r"depths=\(6, 2\) is not a range"),
            ({"depths": 3}, "depths=3 is not a range of depths from 1"),
            ({"depths": (2.5, 4)}, r"depths=\(2.5, 4\) is not a range"),
            ({"constants": (0, float("inf"))}, r"constants=\(0, inf\) is not a range"),
            ({"constants": "04"}, "constants='04' is not a range"),
            ({"constants": (4.0, 0.0)}, "is not a range"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message):
            Variation(**settings)

    def test_a_tree_in_other_operators(self):
        with pytest.raises(UserError, match="unknown operator 'exp'"):
            Variation(operators=PAPER_B).crossover(NGL, NGL, np.random.RandomState(0))
