"""Pack all rows and the saved networks as dist/nglkeras-results-VERSION.tar.gz, with checksums.

    python reproduce/pack.py                       results/, and build/weights if it is there
    python reproduce/pack.py --results MY_RESULTS --out MY_FOLDER

The archive has SHA256SUMS of its files, for `sha256sum -c`; its own checksum is beside it. Folders
that scripts write by default, such as results/table2/demo, are left out, and so are figures.
"""

from nglkeras.experiments import archive, script

if __name__ == "__main__":
    script.main(lambda: archive.packing.pack(__doc__))
