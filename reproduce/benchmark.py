"""Benchmarks: ratios of interleaved runs, with their quartiles, as a table, a CSV and a plot.

    python reproduce/benchmark.py loss      loss and gradient against Keras' cross entropy, peak
                                            memory, and a whole training step of a U-Net; with
                                            KERAS_BACKEND=torch or jax on these
    python reproduce/benchmark.py search    a search's candidate against compiling anew, and whole
                                            trainings compiled against Keras' fit; with
                                            KERAS_BACKEND=jax the latter
    python reproduce/benchmark.py racing    searches with and without racing: epochs, best losses;
                                            --rounds is the number of seeds, and the same command
                                            goes on
    python reproduce/benchmark.py trial     a demonstration of table 2 against compiling anew
    python reproduce/benchmark.py gp        operations on trees against gplearn and DEAP
    python reproduce/benchmark.py scaling   what a trial costs the driver, trials an hour with one
                                            and two workers, simulated up to a thousand
    python reproduce/benchmark.py step      a training step of each network at the paper's scale:
                                            its time and peak memory (--memory: limit in GiB)
    python reproduce/benchmark.py gpu       all that a card has to show in nine minutes (--minutes),
                                            on the backend that KERAS_BACKEND names; --tiny on a
                                            CPU; the same command goes on (docs/gpu.md)
    python reproduce/benchmark.py cost      what the papers' experiments would cost: operations
                                            counted from the plans of --scale paper, hours at an
                                            assumed rate of a GPU (--tflops); nothing is timed

Each takes minutes on two cores, on which nothing else should run.
"""

# The folder beside this file: Python prefers packages to modules of the same name.
import benchmark
from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import options, script
from nglkeras.report import output
from nglkeras.startup.extras import needed
from nglkeras.training import devices

# Beside the committed measurements, which stay as they are.
OUT, GPU_OUT = output.RESULTS / "benchmark" / "new", output.RESULTS / "gpu" / "new"
MODES = {
    "loss": ("Loss and gradient, relative to Keras' cross entropy", 40),
    "search": ("A search's candidate, relative to compiling anew or to Keras' fit", 5),
    "racing": ("A search with racing, relative to one without", 5),
    "trial": ("Table 2, relative to building and compiling every network", 3),
    "gp": ("Operations on trees, relative to gplearn", 30),
    "scaling": ("Trials an hour by the number of workers", 24),
    "step": ("A training step at the paper's scale", 2),
    "gpu": ("Kernels, training steps and searches on a card", None),
    "cost": ("What the papers' experiments would cost", None),
}
# The benchmarks that know an option which not all of them do.
KNOWN = {
    "rounds": ("loss", "search", "racing", "trial", "gp", "scaling", "step", "gpu"),
    "models": ("search", "step"),
    "memory": ("step",),
    "minutes": ("gpu",),
    "parts": ("gpu",),
    "tiny": ("gpu",),
    "data": ("gpu",),
    "data_dir": ("gpu",),
    "tflops": ("cost",),
}
# Those that measure other backends too.
OTHERS = {"loss": ("jax", "torch"), "gpu": ("jax", "torch"), "search": ("jax",)}


def main():
    """Run the script."""
    parser = options.Parser(__doc__)
    parser.add_argument("what", help=f"one of: {', '.join(MODES)}")
    parser.add_argument(
        "--rounds", type=options.positive, help="number of rounds; by default enough"
    )
    parser.add_argument("--models", nargs="+", metavar="NAME", help="networks of search and step")
    parser.add_argument(
        "--memory",
        type=options.positive,
        default=12,
        metavar="GIB",
        help="limit of step (default: 12)",
    )
    parser.add_argument(
        "--minutes", type=options.positive, default=9, help="limit of gpu (default: 9)"
    )
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="parts of gpu (default: all)")
    parser.add_argument("--tiny", action="store_true", help="gpu in sizes for two CPU cores")
    parser.add_argument("--data", default="digits", help="data set of gpu (default: digits)")
    parser.add_argument("--data-dir", type=options.folder, help="folder of its data")
    parser.add_argument(
        "--tflops",
        type=options.positive,
        default=60,
        metavar="N",
        help="rate of a GPU that cost assumes (default: 60)",
    )
    text = f"folder of the files (default: {OUT}, or {GPU_OUT})"
    parser.add_argument("--out", help=text)
    output.add_figure_options(parser)
    args = parser.parse_args()
    if args.what not in MODES:
        raise unknown("benchmark", args.what, MODES)
    for name, knowing in KNOWN.items():
        if getattr(args, name) != parser.get_default(name) and args.what not in knowing:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{args.what} has no {option}; it is for: {', '.join(knowing)}")
    backend = devices.backend()
    valid = ("tensorflow", *OTHERS.get(args.what, ()))
    if backend not in valid:
        choice = ", ".join(valid)
        raise UserError(f"{args.what} on {backend}; set KERAS_BACKEND to one of: {choice}")
    name = args.what if backend == "tensorflow" else f"{args.what}_{backend}"
    if args.tiny:
        name += "_tiny"
    title, rounds = MODES[args.what]
    out = paths.absolute(args.out or (GPU_OUT if args.what == "gpu" else OUT))
    save = output.saver(args)
    with output.writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    settings = {
        "search": {"names": args.models},
        "racing": {"path": out / name},
        "step": {"names": args.models, "memory": args.memory},
        "cost": {"tflops": args.tflops},
        "gpu": {
            "path": out / name,
            "minutes": args.minutes,
            "tiny": args.tiny,
            "parts": args.parts,
            "data": args.data,
            "data_dir": args.data_dir,
        },
    }
    with needed():
        module = getattr(benchmark, args.what)
        rows = module.measure(args.rounds or rounds, **settings.get(args.what, {}))
    report = getattr(module, "report", benchmark.measure.report)
    with output.writing_to(out):
        report(rows, title, out / name, save)


if __name__ == "__main__":
    script.main(main)
