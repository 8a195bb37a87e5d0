"""How far the trainings in a folder of results are."""

import time
from functools import partial

from nglkeras.experiments import options
from nglkeras.report import output
from nglkeras.runs import status as journals

# A clock's limit is far beyond it.
_DAY = 86_400


def status(doc: str) -> None:
    """Print what is done, running and failed in a folder of results, and the time left."""
    parser = options.Parser(doc)
    parser.add_argument("place", nargs="?", default=output.RESULTS)
    add = partial(parser.add_argument, type=options.positive)
    add("--failures", default=10, help="failed trials to name")
    add("--watch", metavar="SECONDS", help="look again and again")
    args = parser.parse_args()
    while True:
        for journal in journals.find(args.place):
            print(journals.describe(journals.read(journal), failures=args.failures))
        if args.watch is None:
            return
        time.sleep(min(args.watch, _DAY))
        print()
