"""Train networks of a journal again and save them, as the journal has no weights.

    python reproduce/weights.py results/glo/mnist --losses CE Baikal --runs 1 --where steps=2000
    python reproduce/weights.py results/table2/demo        all tested networks of one's own table

A file that is there is not trained again; networks.csv beside the files has the test accuracy of
the committed row and that of the network that was saved. Keras alone loads them:
keras.models.load_model(file, compile=False).
"""

from nglkeras.experiments import archive, script

if __name__ == "__main__":
    script.main(lambda: archive.networks.save_networks(__doc__))
