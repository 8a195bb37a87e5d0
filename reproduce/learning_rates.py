"""Each loss at its own best learning rate, against cross entropy at its own.

    python reproduce/learning_rates.py                    a demonstration: digits, some minutes
    python reproduce/learning_rates.py --scale reduced    paper B's network on MNIST, 2,000 steps
    python reproduce/learning_rates.py --scale reduced --losses CE NGL --optimizer Adam
    python reproduce/learning_rates.py --dataset fashion_mnist --model small_cnn --steps 4220
                                       --evaluate-every 422 --batch-size 128 --optimizer momentum

Every loss is trained at six rates, half a decade apart, and at more while its best one lies at an
edge; validation chooses. The best rate of each is then trained on new seeds and tested. Rows are
journalled as they come: stop it when you like, the same command goes on.
"""

from nglkeras.experiments.learning_rates.study import LEARNING_RATES

if __name__ == "__main__":
    LEARNING_RATES.run(__doc__)
