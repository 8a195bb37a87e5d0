"""The fingerprint of a function."""

import dataclasses
import datetime
import functools
import importlib
import pathlib
import subprocess
import sys
import time
import types

import cloudpickle
import keras
import numpy as np
import pytest
import tensorflow as tf

from nglkeras.expression import Expression
from nglkeras.search.identity import fingerprint

CE = Expression.parse("-(y_true*log(y_pred))")


FACTOR = 2.0


SEEN = []


_FINGERPRINT_OF_A_COPY = """
import sys, cloudpickle
from nglkeras.search.identity import fingerprint
print(fingerprint(cloudpickle.loads(sys.stdin.buffer.read())))
"""


def helper(value):
    return value + 1


def _variants():
    """Functions of which each differs from the first of its kind."""

    def closure(number, data=None):
        return lambda e: e.size * number if data is None else (e.size, data)

    class Called:
        def __init__(self, factor):
            self.factor = factor
            self.calls = 0

        def __call__(self, expression):
            self.calls += 1
            return self.factor * expression.size

        def other(self, expression):
            return self.factor - expression.size

    yield [lambda e: e.size, lambda e: -e.size, lambda e: e.size + 1, lambda e: e.height]

    class Trainer:
        def __init__(self, rate):
            self.rate = rate

        def score(self, expression):
            return self.rate * expression.size

    def scoring(trainer):
        return lambda e: trainer.score(e)

    yield [Trainer(1).score, Trainer(2).score]
    yield [scoring(Trainer(1)), scoring(Trainer(2))]
    yield [closure(1), closure(2), closure(1.0), closure(True)]
    yield [closure(0, np.arange(3)), closure(0, np.arange(4)), closure(0, {"rate": 1})]
    yield [closure(0, {"rate": 1}), closure(0, {"rate": 2}), closure(0, [closure(1)])]
    yield [functools.partial(helper, 1), functools.partial(helper, 2), helper]
    yield [Called(1), Called(2), Called(1).other]

    class Settings:
        def __init__(self, rate):
            self.rate = rate

    @dataclasses.dataclass(slots=True)
    class Slotted:
        rate: float

    kinds = (Settings, lambda v: types.SimpleNamespace(rate=v), tf.constant, range, datetime.date)
    kinds += (Slotted,)
    for kind in kinds:
        values = (
            (kind(2000, 1, 1), kind(2000, 1, 2)) if kind is datetime.date else (kind(1), kind(2))
        )
        yield [closure(0, value) for value in values]
    yield [closure(0, pathlib.Path("a")), closure(0, pathlib.Path("b"))]
    yield [lambda e, k=1: k, lambda e, k=2: k, lambda e, *, k=1: k]
    yield [_collecting(np.full(5, 0.1)), _collecting(np.full(5, 0.9)), _collecting([0.1])]
    yield [_storing(np.full(5, 0.1)), _storing(np.full(5, 0.9)), _storing([0.1]), _storing([0.9])]
    yield [_counting_by_name({"a": 1}), _counting_by_name({"a": 2})]
    makers = (_with_a_constant, _with_a_base, _with_a_property, _with_a_cache, _with_a_decorator)
    makers += (_beside_what_is_called_like_a_change, _with_an_update_of_its_own, _by_two_names)
    makers += (_setting_that_of_another, _setting_that_of_an_argument, _with_a_list_of_one_name)
    makers += (_setting_those_of_others, _storing_somewhere)
    for make in makers:
        yield [make(1), make(2)]


def _collecting(data):
    def evaluate(expression):
        found = []
        for value in data:
            found.append(expression.size * value)
        return sum(found)

    return evaluate


def _storing(data):
    def evaluate(expression):
        found = np.zeros(2)
        found[0] = np.sum(data)
        return found.sum()

    return evaluate


def _counting_by_name(data):
    def evaluate(expression):
        counts = dict.fromkeys(data, 0)
        for name, value in data.items():
            counts[name] += value * expression.size
        return counts

    return evaluate


def _setting_that_of_another(number):
    class Own:
        def __init__(self, given):
            self.rate = given

        def __call__(self, expression):
            schedule = types.SimpleNamespace()
            schedule.rate = self.rate
            return schedule.rate * expression.size

    return Own(number)


def _beside_what_is_called_like_a_change(number):
    factor = number

    def update(expression, how):
        return expression.size if how == "sort" else 0

    return lambda expression: factor * update(expression, how="sort") * (factor, "pop")[0]


def _with_an_update_of_its_own(number):
    class Meter:
        def __init__(self, given):
            self.factor = given

        def update(self, expression):
            return self.factor * expression.size

    meter = Meter(number)
    return lambda expression: meter.update(expression)


def _setting_those_of_others(number):
    class Own:
        def __init__(self, given):
            self.rate = given

        def __call__(self, expression):
            model = types.SimpleNamespace(optimizer=types.SimpleNamespace(), layers=[])
            model.optimizer.rate = self.rate
            for layer in model.layers:
                layer.rate = self.rate
            return model.optimizer.rate * expression.size

    return Own(number)


def _storing_somewhere(number):
    factors = [number]

    def evaluate(expression, given=None):
        (hits, _), copied = ([0], [0]), factors[:]
        hits[0] = expression.size
        copied[0] += 1
        for row in ([1], [2]):
            row[0 if hits else 1] = 3
        if given:
            given[0] = 1
        return factors[0] * hits[0]

    return evaluate


def _by_two_names(number):
    factors = [number]

    def evaluate(expression):
        counts = [0]
        first = counts
        first[0] = factors[0] * expression.size
        return counts

    return evaluate


def _with_a_list_of_one_name(number):
    class Own:
        def __init__(self, given):
            self.rates = [given]

        def __call__(self, expression):
            rates = [expression.size]
            rates.append(self.rates[0])
            return sum(rates)

    return Own(number)


def _setting_that_of_an_argument(number):
    class Own:
        def __init__(self, given):
            self.rate = given

        def __call__(self, expression):
            return self.apply(types.SimpleNamespace(), expression)

        def apply(self, schedule, expression):
            schedule.rate = self.rate
            return schedule.rate * expression.size

    return Own(number)


def _with_a_constant(number):
    class Own:
        EPOCHS = number

        def __call__(self, expression):
            return self.EPOCHS * expression.size

    return Own()


def _with_a_base(number):
    class Base:
        def __call__(self, expression):
            return number * self.score(expression)

    class Own(Base):
        def score(self, expression):
            return expression.size

    return Own()


def _with_a_property(number):
    class Own:
        @property
        def factor(self):
            return number

        def __call__(self, expression):
            return self.factor * expression.size

    return Own()


def _with_a_decorator(number):
    def multiplied(method):
        @functools.wraps(method)
        def call(self, expression):
            return number * method(self, expression)

        return call

    class Own:
        @multiplied
        def __call__(self, expression):
            return expression.size

    return Own()


def _with_a_cache(number):
    @functools.lru_cache
    def evaluate(expression):
        return number * expression.size

    return evaluate


class TestIdentity:
    @pytest.mark.parametrize("variants", list(_variants()))
    def test_others_are_told_apart(self, variants):
        assert len({fingerprint(variant) for variant in variants}) == len(variants)

    def test_globals_and_helpers(self, monkeypatch):
        def evaluate(expression):
            return helper(expression.size) * FACTOR

        before = fingerprint(evaluate)
        monkeypatch.setitem(globals(), "FACTOR", 3.0)
        assert fingerprint(evaluate) != before
        monkeypatch.setitem(globals(), "FACTOR", 2.0)
        assert fingerprint(evaluate) == before
        other = types.FunctionType((lambda value: value + 2).__code__, globals(), "helper")
        monkeypatch.setitem(globals(), "helper", other)
        assert fingerprint(evaluate) != before

    def test_an_expression_counts_with_its_formula(self):
        def hashed(formula):
            expression = Expression.parse(formula)
            return fingerprint(lambda other: (expression, other))

        assert hashed("y_true*y_pred") == hashed("y_true*y_pred") != hashed("y_pred")

    @pytest.mark.parametrize(
        ("uses", "found"),
        [
            ("from theirs import score\ndef own(e): return score(e)", True),
            ("import theirs\ndef own(e): return theirs.score(e)", True),
            ("import theirs\ndef own(e): return e.size", False),
            ("import used\ndef own(e): return used.again(e)", True),
            ("import theirs\ndef own(e): theirs.calls = 1; return theirs.score(e)", True),
            ("import theirs\ndef own(e): return theirs.Scored()(e)", True),
            ("from theirs import Scored\nclass own(Scored): pass", True),
        ],
    )
    @pytest.mark.parametrize("place", ["", "site-packages"])
    def test_other_modules_count_unless_they_are_installed(
        self, uses, found, place, tmp_path, monkeypatch
    ):
        """Such as a network of one's own in `nets.py`: another one is another search."""
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        hashes = []
        for number in (1, 64):
            text = f"""def score(e): return {number}
class Scored:
    def __call__(self, e): return {number}
"""
            (folder / "theirs.py").write_text(text)
            (folder / "used.py").write_text("from theirs import score as again")
            for name in ("theirs", "used"):
                sys.modules.pop(name, None)
            importlib.invalidate_caches()
            scope = {"__name__": "__main__"}
            exec(uses, scope)
            hashes.append(fingerprint(scope["own"]))
            assert hashes[-1] == fingerprint(scope["own"])
        for name in ("theirs", "used"):
            sys.modules.pop(name, None)
        assert (hashes[0] != hashes[1]) == (found and not place)

    def test_a_chain_of_helpers_takes_no_time(self):
        """Each would double the text of the one that it calls."""

        def hashed(last):
            steps = [f"def f{i}(e): return f{i + 1}(e)" for i in range(40)]
            exec(
                "\n".join([*steps, f"def f40(e): return {last}"]), scope := {"__name__": "__main__"}
            )
            return fingerprint(scope["f0"])

        assert hashed(1) == hashed(1) != hashed(2)

    def test_the_copy_that_a_worker_has_is_the_same(self):
        """It has only the globals that are read, and the members of a class by name."""
        exec(
            """class Own:
    def __init__(self): self.size = FACTOR
    def __call__(self, expression): return self.size * expression.FACTORS
    def again(self): return 1
def score(expression): return expression.helper.mean(FACTOR)
""",
            scope := {"__name__": "__main__", "FACTOR": 2.0, "FACTORS": 3, "helper": 4, "mean": 5},
        )
        for one in (scope["Own"](), scope["score"]):
            copy = subprocess.run(
                [sys.executable, "-c", _FINGERPRINT_OF_A_COPY],
                input=cloudpickle.dumps(one),
                capture_output=True,
                check=True,
            )
            assert copy.stdout.decode().strip() == fingerprint(one)

    def test_what_the_function_changes_is_no_setting(self):
        count, cache, names, table, rows = 0, {}, set(), [[0]], [[]]
        sums = np.zeros(1)

        def counting(expression):
            nonlocal count
            count += 1
            cache[expression] = count
            SEEN.append(expression)
            sums[0] += count
            return expression.size

        def counting_by_other_names(expression):
            known = cache
            seen = names
            known[expression, len(known)] = 1
            seen.add(len(known))
            table[0][0] += 1
            rows[len(known) % 1].append(0)

        class Counting:
            def __init__(self):
                self.calls, self.seen, self.sizes = 0, [], {}

            @functools.cached_property
            def started(self):
                return time.perf_counter()

            def __call__(self, expression):
                assert self.started
                self.calls += 1
                self.seen.append(expression)
                self.sizes[expression, self.calls] = expression.size
                return expression.size

        for function in (counting, counting_by_other_names, Counting()):
            before = fingerprint(function)
            function(CE)
            assert fingerprint(function) == before

    def test_neither_is_a_network_that_is_trained(self):
        class Network(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(2)

            def call(self, x):
                return self.dense(x)

        network = Network()

        def evaluate(expression):
            return float(network(np.ones((1, 3), "float32")).shape[-1])

        before = fingerprint(evaluate)
        evaluate(CE)
        assert fingerprint(evaluate) == before

    def test_a_comment_is_none(self):
        def first(expression):
            """One."""
            return expression.size

        def second(expression):
            """Another."""
            # With a comment.
            return expression.size

        assert fingerprint(first) == fingerprint(second)

    def test_a_function_that_calls_itself(self):
        def evaluate(expression, depth=3):
            return evaluate(expression, depth - 1) if depth else 1.0

        assert fingerprint(evaluate) == fingerprint(evaluate)
