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
    ours, theirs, deaps = _ours(), _gplearn(), _deap()
    found = []
    for case in ours:
        calls = {"nglkeras": ours[case], "gplearn": theirs[case], "DEAP": deaps[case]}
        contestants = {name: timed(call) for name, call in calls.items()}
        # A random tree may overflow.
        with np.errstate(all="ignore"):
            seconds = interleaved(contestants, rounds=rounds, what=case)
        each = {name: times / TREES for name, times in seconds.items()}
        found += compared(f"{case} of a tree", each, "gplearn")
    return found


def _inputs():
    random = np.random.default_rng(0)
    return random.integers(0, 2, SAMPLES).astype(float), random.uniform(0.01, 1.0, SAMPLES)


def _ours():
    random, variation = np.random.RandomState(0), Variation()
    trees = [variation.random_tree(random) for _ in range(TREES)]
    partners = trees[1:] + trees[:1]
    t, p = _inputs()
    pairs = list(zip(trees, partners, strict=True))
    return {
        "building": lambda: [variation.random_tree(random) for _ in trees],
        "crossover": lambda: [variation.crossover(a, b, random) for a, b in pairs],
        "subtree mutation": lambda: [variation.subtree_mutation(a, random) for a in trees],
        "node mutation": lambda: [variation.node_mutation(a, random) for a in trees],
        "evaluation": lambda: [tree(t, p) for tree in trees],
    }


def _functions():
    """Return (function, arity) of the paper's operators by name, protected as in `OPERATORS`."""
    return {name: (partial(OPERATORS[name].value, np), OPERATORS[name].arity) for name in PAPER_A}


def _gplearn():
    random = np.random.RandomState(0)
    functions = [
        make_function(function=_with_arity(f, arity), name=name, arity=arity, wrap=False)
        for name, (f, arity) in _functions().items()
    ]
    arities = {}
    for function in functions:
        arities.setdefault(function.arity, []).append(function)
    make = partial(
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
    programs = [make() for _ in range(TREES)]
    partners = programs[1:] + programs[:1]
    inputs = np.stack(_inputs(), axis=1)
    pairs = list(zip(programs, partners, strict=True))
    return {
        "building": lambda: [make() for _ in programs],
        "crossover": lambda: [a.crossover(b.program, random) for a, b in pairs],
        "subtree mutation": lambda: [a.subtree_mutation(random) for a in programs],
        "node mutation": lambda: [a.point_mutation(random) for a in programs],
        "evaluation": lambda: [a.execute(inputs) for a in programs],
    }


def _with_arity(function, arity):
    # gplearn reads the number of arguments from a function's code.
    return (lambda a: function(a)) if arity == 1 else (lambda a, b: function(a, b))


def _deap():
    with needed():
        from deap import gp

    python_random.seed(0)
    primitives = gp.PrimitiveSet("loss", 2)
    for name, (function, arity) in _functions().items():
        primitives.addPrimitive(function, arity, name=f"op_{name}")
    primitives.addEphemeralConstant("constant", partial(python_random.uniform, 0.0, 4.0))

    def build():
        return gp.PrimitiveTree(gp.genHalfAndHalf(primitives, 2, 6))

    trees = [build() for _ in range(TREES)]
    partners = trees[1:] + trees[:1]
    t, p = _inputs()
    pairs = list(zip(trees, partners, strict=True))
    limit = gp.staticLimit(key=operator.attrgetter("height"), max_value=17)
    crossover = limit(gp.cxOnePoint)
    subtree = partial(gp.genHalfAndHalf, min_=2, max_=6)

    def copies(*originals):
        # DEAP changes trees in place; its users copy them first.
        return [gp.PrimitiveTree(list(tree)) for tree in originals]

    return {
        "building": lambda: [build() for _ in trees],
        "crossover": lambda: [crossover(*copies(a, b)) for a, b in pairs],
        "subtree mutation": lambda: [
            gp.mutUniform(*copies(a), lambda pset, type_: subtree(pset), primitives) for a in trees
        ],
        "node mutation": lambda: [gp.mutNodeReplacement(*copies(a), primitives) for a in trees],
        "evaluation": lambda: [gp.compile(a, primitives)(t, p) for a in trees],
    }
