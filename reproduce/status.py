"""What is done, running and failed in a folder of results, and how long the rest will take.

    python reproduce/status.py results/table2/demo
    python reproduce/status.py results --watch 10       again every ten seconds, until Ctrl-C

Reads journals while they are written, on any machine that sees the folder, and disturbs nobody.
"""

import time
from functools import partial

from nglkeras.experiments import options, script
from nglkeras.report import output
from nglkeras.runs import status


def main():
    """Run the script."""
    parser = options.Parser(__doc__)
    parser.add_argument("place", nargs="?", default=output.RESULTS)
    add = partial(parser.add_argument, type=options.positive)
    add("--failures", default=10, help="failed trials to name")
    add("--watch", metavar="SECONDS", help="look again and again")
    args = parser.parse_args()
    while True:
        for journal in status.find(args.place):
            print(status.describe(status.read(journal), failures=args.failures))
        if args.watch is None:
            return
        time.sleep(args.watch)
        print()


if __name__ == "__main__":
    script.main(main)
