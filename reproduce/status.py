"""What is done, running and failed in a folder of results, and how long the rest will take.

    python reproduce/status.py results/table2/demo
    python reproduce/status.py results --watch 10       again every ten seconds, until Ctrl-C

Reads journals while they are written, on any machine that sees the folder, and disturbs nobody.
"""

from nglkeras.experiments import progress, script

if __name__ == "__main__":
    script.main(lambda: progress.status(__doc__))
