"""Each loss less cross entropy in every study that REPORT.md counts: a table and a figure.

    python reproduce/report.py                           reads results/, writes results/report/
    python reproduce/report.py MY_RESULTS --format pdf

results/studies.toml lists the studies; their rows are committed, so this takes seconds and trains
nothing. The report itself, results/REPORT.md, is rendered by verify.py.
"""

from functools import partial

from nglkeras import paths
from nglkeras.experiments import options, script, verification
from nglkeras.report import output

_TITLE = "Each loss less cross entropy, in pairs of runs"
_NOTE = (
    "Points of the measure, with Student's 95 % interval; n pairs of runs, one a seed. Better "
    "and worse: Holm's p below 0.05; equivalent: both one-sided tests within ±0.5 points below "
    "0.05."
)


def main():
    """Run the script."""
    parser = options.Parser(__doc__)
    text = "folder of the results, with studies.toml in it (default: %(default)s)"
    parser.add_argument("folder", nargs="?", default=output.RESULTS, help=text)
    output.add_figure_options(parser)
    args = parser.parse_args()
    folder = paths.expand(args.folder)
    found, studies = verification.numbers.Numbers(folder).studies(), verification.studies
    with output.writing_to(folder):
        script.show(
            args,
            folder / "report" / "verdicts",
            _TITLE,
            [studies.layout(found)],
            [_NOTE],
            studies.to_frame(found),
            partial(studies.figure, found, _TITLE),
        )


if __name__ == "__main__":
    script.main(main)
