"""Derive all seeds by name from one root seed."""

import hashlib


def numbered(seed: int, number: int) -> int:
    """Return the seed of one of a thousand experiments of a root; two roots have none in common."""
    return 1_000 * seed + number


def derive_seed(seed: int, what: str, index: int = 0) -> int:
    """Return a seed in [0, 2^31) for one use, e.g. `derive_seed(0, "split", run)`."""
    digest = hashlib.sha256(f"{seed}/{what}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
