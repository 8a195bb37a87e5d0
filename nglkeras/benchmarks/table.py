"""A demonstration of table 2: its networks compiled once, against each built and compiled anew."""

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from nglkeras.benchmarks.measure import Measurement, compared
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.training import run_trial
from nglkeras.experiments.classification.trial import plan

LOSSES = ("CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL")
MODELS = ("small_cnn", "head")


def measure(rounds: int) -> list[Measurement]:
    """Nine losses and two models, as many runs as rounds; the ratio of each run's sum counts.

    Neither takes its turn within the other's run: what one compiles makes TensorFlow forget what
    it had prepared for the other.
    """
    trials = plan(replace(TABLE2_SCALES["demo"], models=MODELS, runs=rounds), LOSSES)
    ways = {
        "built and compiled anew": lambda trial: run_trial(replace(trial, compile_once=False)),
        "compiled once": SharedNetworks(trials),
    }
    seconds = {way: np.zeros(rounds) for way in ways}
    for run in range(rounds):
        for way, train in ways.items():
            of_run = [trial for trial in trials if trial.run == run]
            for trial in tqdm(of_run, desc=f"run {run + 1}, {way}", leave=False):
                row = train(trial)
                if row.status != "ok":
                    raise RuntimeError(f"{trial}: {row.status}, {row.message}")
                seconds[way][run] += row.seconds
    case = f"table 2 on digits, {len(LOSSES)} losses x {len(MODELS)} models, a run"
    return compared(case, seconds, "built and compiled anew")
