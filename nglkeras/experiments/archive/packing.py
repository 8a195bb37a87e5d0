"""Pack all rows, and the networks that were saved, as one file for a release.

The same content gives the same bytes, whoever packs it and when: names are sorted, and neither
times nor owners are written. (Another version of zlib may compress to other bytes.)
"""

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import nglkeras
from nglkeras.errors import UserError
from nglkeras.experiments import options
from nglkeras.experiments.archive import networks
from nglkeras.report import output

# In the working directory.
FOLDER = Path("dist")
ENDINGS = (".jsonl", ".csv", ".toml", ".md")
SUMS = "SHA256SUMS"


def members(results: Path, weights: Path | None = None) -> dict[str, Path]:
    """Return the files of the archive by their names in it.

    Args:
        results: Folder of results. Its scratch folders are left out; LICENSE is the one beside it.
        weights: Folder of saved networks; none by default.

    Raises:
        UserError: If there are no results, or a network is not the one that is listed.
    """
    found = {
        f"results/{path.relative_to(results).as_posix()}": path
        for path in output.kept(results, *ENDINGS)
    }
    if not any(name.endswith(".jsonl") for name in found):
        raise UserError(f"no journals in {results}")
    licence = results.parent / "LICENSE"
    if licence.is_file():
        found[licence.name] = licence
    if weights is not None:
        found |= {f"weights/{path.name}": path for path in _networks(weights)}
    return dict(sorted(found.items()))


def _networks(folder):
    sums = {folder / line["file"]: line["sha256"] for line in networks.listed(folder)}
    try:
        changed = [path for path, digest in sums.items() if networks.sha256(path) != digest]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    if changed:
        raise UserError(
            f"{changed[0]} is not the file that {networks.LIST} lists: delete it, and weights.py "
            f"trains its network again"
        )
    return [folder / networks.LIST, *folder.glob(networks.JOURNAL), *sums]


def write(path: Path, files: Mapping[str, Path]) -> int:
    """Write an archive of files, with `SHA256SUMS`; return how many lines its journals have."""
    top, sums, rows = path.name.removesuffix(".tar.gz"), {}, 0
    with (
        path.open("wb") as raw,
        # Without a name and a time in it.
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):

        def add(name, content):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        for name, file in files.items():
            # Read once: a training may append to its journal meanwhile.
            content = file.read_bytes()
            add(name, content)
            sums[name] = hashlib.sha256(content).hexdigest()
            rows += content.count(b"\n") * name.endswith(".jsonl")
        add(SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
    return rows


def check(path: Path) -> list[str]:
    """Return the names of an archive's files, all of which have their checksums.

    Raises:
        UserError: If a file is missing, superfluous or another, or the archive cannot be read.
    """
    top = path.name.removesuffix(".tar.gz")
    try:
        # Networks may be larger than memory together.
        found = {
            name: content if name == SUMS else hashlib.sha256(content).hexdigest()
            for name, content in _read(path, f"{top}/")
        }
        lines = found.pop(SUMS).decode().splitlines()
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path} is no archive with {SUMS}: {error}") from error
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted(sums.keys() | found.keys()):
        if name not in found or found[name] != sums.get(name):
            raise UserError(f"{path}: {name} is not what {SUMS} says")
    return sorted(found)


def _read(path: Path, top: str) -> Iterator[tuple[str, bytes]]:
    with gzip.GzipFile(path) as packed, tarfile.open(fileobj=packed) as archive:
        for member in archive:
            yield member.name.removeprefix(top), archive.extractfile(member).read()
        # To the end, where gzip's own checksum stands.
        packed.read()


def pack(doc: str) -> None:
    """Pack the results, and the networks if there are any."""
    parser = options.Parser(doc)
    add = parser.add_argument
    text = "folder of the results (default: %(default)s)"
    add("--results", type=options.folder, default=output.RESULTS, metavar="DIR", help=text)
    text = f"folder of the networks (default: {networks.FOLDER} if it is there)"
    add("--weights", type=options.folder, metavar="DIR", help=text)
    text = "folder of the archive (default: %(default)s)"
    add("--out", type=options.folder, default=FOLDER, metavar="DIR", help=text)
    args = parser.parse_args()
    written = (networks.FOLDER / networks.LIST).is_file()
    weights = args.weights or (networks.FOLDER if written else None)
    files = members(args.results, weights)
    path = args.out / f"nglkeras-results-{nglkeras.__version__}.tar.gz"
    with output.writing_to(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        # Under its name once it is whole; `check` takes the name of its folder from that.
        part = args.out / "part" / path.name
        # One that was broken off may have left another version's.
        shutil.rmtree(part.parent, ignore_errors=True)
        part.parent.mkdir()
        rows = write(part, files)
        names = check(part)
        digest, size = networks.sha256(part), part.stat().st_size
        part.replace(path)
        part.parent.rmdir()
        sums = path.with_name(f"{path.name}.sha256")
        sums.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    count = sum(name.endswith(".keras") for name in names)
    print(f"written: {path} and {sums.name}")
    print(
        f"{len(names)} files, {count} of them networks; {rows:,} lines of journals; "
        f"{size / 1e6:.1f} MB; all checksums agree"
    )
