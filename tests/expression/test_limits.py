"""A limit on work ends a block and leaves profilers as they were."""

import cProfile
import sys

import pytest

from nglkeras.expression.limits import limited


def work(done, rounds=1000):
    for i in range(rounds):
        done.append(abs(i))


@pytest.mark.parametrize(("calls", "is_whole"), [(100, False), (10_000, True)])
def test_ends_after_so_many_calls(calls, is_whole):
    done = []
    with limited(calls):
        work(done)
    assert (len(done) == 1000) == is_whole
    assert sys.getprofile() is None


def test_profilers_go_on_after_it():
    def profiler(*_):
        pass

    sys.setprofile(profiler)
    try:
        with limited(10):
            work([])
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    with cProfile.Profile() as profile:
        with limited(10):
            work([])
        work([], 7)
    profile.create_stats()
    assert sum(calls for calls, *_ in profile.stats.values()) > 7
