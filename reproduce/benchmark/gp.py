"""Operations on trees of at most 100 nodes: ours, which build on gplearn's, gplearn's and DEAP's.

Ours keep the rules of the paper (height, size, both terminals) and draw again where a tree breaks
one; the libraries' own operations do not check.
"""

import operator
import random as python_random
from functools import partial

import numpy as np
from gplearn._program import _Program
from gplearn.functions import make_function

from benchmark.measure import Measurement, compared, interleaved, timed
from nglkeras.expression import OPERATORS, PAPER_A
from nglkeras.search import Variation
from nglkeras.startup.extras import needed

TREES = 64
SAMPLES = 1_000


def measure(rounds: int) -> list[Measurement]:
    """Apply each operation to `TREES` trees a turn; evaluate on `SAMPLES` pairs of label and p."""
    random = np.random.default_rng(0)
    t, p = random.integers(0, 2, SAMPLES).astype(float), random.uniform(0.01, 1.0, SAMPLES)
    libraries = {"nglkeras": _ours(t, p), "gplearn": _gplearn(t, p), "DEAP": _deap(t, p)}
    found = []
    for case in libraries["nglkeras"]:
        contestants = {name: timed(calls[case]) for name, calls in libraries.items()}
        # A random tree may overflow.
        with np.errstate(all="ignore"):
            seconds = interleaved(contestants, rounds=rounds, what=case)
        each = {name: times / TREES for name, times in seconds.items()}
        found += compared(f"{case} of a tree", each, "gplearn")
    return found


def _calls(build, crossover, subtree_mutation, node_mutation, evaluate):
    """Return a library's functions of no arguments, each for all trees, by case."""
    trees = [build() for _ in range(TREES)]
    pairs = list(zip(trees, trees[1:] + trees[:1], strict=True))
    return {
        "building": lambda: [build() for _ in trees],
        "crossover": lambda: [crossover(a, b) for a, b in pairs],
        "subtree mutation": lambda: [subtree_mutation(tree) for tree in trees],
        "node mutation": lambda: [node_mutation(tree) for tree in trees],
        "evaluation": lambda: [evaluate(tree) for tree in trees],
    }


def _ours(t, p):
    random, variation = np.random.RandomState(0), Variation()
    return _calls(
        lambda: variation.random_tree(random),
        lambda a, b: variation.crossover(a, b, random),
        lambda tree: variation.subtree_mutation(tree, random),
        lambda tree: variation.node_mutation(tree, random),
        lambda tree: tree(t, p),
    )


def _functions():
    """Return (function, arity) of the paper's operators by name, protected as in `OPERATORS`."""
    return {name: (partial(OPERATORS[name].value, np), OPERATORS[name].arity) for name in PAPER_A}


def _gplearn(t, p):
    random = np.random.RandomState(0)
    functions = [
        make_function(function=_with_arity(f, arity), name=name, arity=arity, wrap=False)
        for name, (f, arity) in _functions().items()
    ]
    arities = {}
    for function in functions:
        arities.setdefault(function.arity, []).append(function)
    build = partial(
        _Program,
        function_set=functions,
        arities=arities,
        init_depth=(2, 6),
        init_method="half and half",
        n_features=2,
        const_range=(0.0, 4.0),
        metric=None,
        p_point_replace=0.05,
        parsimony_coefficient=0.0,
        random_state=random,
    )
    inputs = np.stack((t, p), axis=1)
    return _calls(
        build,
        lambda a, b: a.crossover(b.program, random),
        lambda tree: tree.subtree_mutation(random),
        lambda tree: tree.point_mutation(random),
        lambda tree: tree.execute(inputs),
    )


def _with_arity(function, arity):
    # gplearn reads the number of arguments from a function's code.
    return (lambda a: function(a)) if arity == 1 else (lambda a, b: function(a, b))


def _deap(t=None, p=None):
    with needed():
        from deap import gp

    python_random.seed(0)
    primitives = gp.PrimitiveSet("loss", 2)
    for name, (function, arity) in _functions().items():
        primitives.addPrimitive(function, arity, name=f"op_{name}")
    primitives.addEphemeralConstant("constant", partial(python_random.uniform, 0.0, 4.0))
    limit = gp.staticLimit(key=operator.attrgetter("height"), max_value=17)
    crossover = limit(gp.cxOnePoint)

    def subtree(pset, type_):
        return gp.genHalfAndHalf(pset, min_=2, max_=6)

    # DEAP changes trees in place; its users copy them first.
    def copy(tree):
        return gp.PrimitiveTree(list(tree))

    return _calls(
        lambda: gp.PrimitiveTree(gp.genHalfAndHalf(primitives, 2, 6)),
        lambda a, b: crossover(copy(a), copy(b)),
        lambda tree: gp.mutUniform(copy(tree), subtree, primitives),
        lambda tree: gp.mutNodeReplacement(copy(tree), primitives),
        lambda tree: gp.compile(tree, primitives)(t, p),
    )
