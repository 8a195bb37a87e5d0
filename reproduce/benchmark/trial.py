"""A demonstration of table 2: networks compiled once, against each built and compiled anew."""

from dataclasses import replace
from functools import partial

from benchmark.measure import Measurement, compared, interleaved
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import SharedNetworks, run_trial
from nglkeras.experiments.classification.trial import plan

LOSSES = ("CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL")
MODELS = ("small_cnn", "head")


def measure(rounds: int) -> list[Measurement]:
    """Train nine losses and two models, a run a round, and compare the sums of the runs.

    Neither way takes its turn within a run of the other: what one compiles makes TensorFlow forget
    what it had prepared for the other.
    """
    trials = plan(replace(TABLE2_SCALES["demo"], models=MODELS, runs=rounds), LOSSES)
    ways = {
        "built and compiled anew": lambda trial: run_trial(replace(trial, compile_once=False)),
        "compiled once": SharedNetworks(trials),
    }

    def turn(train, run):
        results = [(trial, train(trial)) for trial in trials if trial.run == run]
        for trial, result in results:
            if result.status != "ok":
                raise RuntimeError(f"{trial}: {result.status}, {result.message}")
        return sum(result.seconds for _, result in results)

    case = f"table 2 on digits, {len(LOSSES)} losses x {len(MODELS)} models, a run"
    contestants = {way: partial(turn, train) for way, train in ways.items()}
    seconds = interleaved(contestants, rounds=rounds, warm_up=False, what=case)
    return compared(case, seconds, "built and compiled anew")
