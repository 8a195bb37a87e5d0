"""The GPUs that workers may use."""

import os
import subprocess
from itertools import takewhile


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them.

    No backend is asked, which would take memory on each of them.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA stops reading at the first that is none.
        return list(takewhile(lambda gpu: gpu not in ("", "-1"), map(str.strip, named.split(","))))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]
