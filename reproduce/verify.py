"""Recompute the numbers that the documents of results print from the committed rows.

    python reproduce/verify.py            names every line that differs; the exit code is then 1
    python reproduce/verify.py --write    writes these lines

A document is the rendering of the template beside it: results/README.md of results/README.md.j2,
and a section of README.md of README.md.j2. Their functions and filters are in
nglkeras/experiments/verification/. It takes seconds, and needs neither Keras nor TensorFlow.
"""

import sys

from nglkeras.experiments import options, script, verification


def main():
    """Run the script."""
    parser = options.Parser(__doc__)
    text = "the project's folder, with results/ in it (default: the working directory)"
    parser.add_argument("folder", nargs="?", default=".", help=text)
    text = "write what is recomputed into the documents"
    parser.add_argument("--write", action="store_true", help=text)
    args = parser.parse_args()
    documents = verification.documents.Documents(args.folder)
    count = 0
    for template in verification.documents.templates(args.folder):
        document, differences = template.with_suffix(""), documents.differences(template)
        for one in differences:
            print(f"{document}:{one.line}: found      {one.found}")
            print(f"{document}:{one.line}: recomputed {one.recomputed}")
        if differences and args.write:
            documents.write(template)
            print(f"written: {document}")
        elif not differences:
            print(f"{document} agrees with the rows")
        count += len(differences)
    if count and not args.write:
        sys.exit(1)


if __name__ == "__main__":
    script.main(main)
