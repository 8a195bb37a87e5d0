"""Figure 2 of paper B: cross entropy, Baikal and BaikalCMA in a binary task (x0 = 1).

    python reproduce/glo_figure2.py [--out DIR]

Values and automatic gradients come from the loss objects themselves.
"""

from nglkeras.experiments import glo, script

if __name__ == "__main__":
    script.draw(__doc__, lambda: glo.plots.figure2(), "glo_figure2")
