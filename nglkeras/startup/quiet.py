"""Suppress the messages that TensorFlow writes when it is imported.

TensorFlow writes several lines to standard error at its import, regardless of its environment
variables, and more when it first looks for a GPU on a machine without one.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

_NOISE = re.compile(
    "|".join(
        (
            "All log messages before absl::InitializeLog",
            "oneDNN custom operations are on",
            "This TensorFlow binary is optimized",
            "To enable the following instructions:",
            "Could not find cuda drivers on your machine",
            # TensorFlow registers these three plugins twice.
            "Unable to register cu(DNN|FFT|BLAS) factory",
            "computation placer already registered",
            "Could not find TensorRT",
            # There is no GPU or driver (303), or the user hides the GPU. Other errors are shown.
            r"failed call to cuInit: .*(UNKNOWN ERROR \(303\)|CUDA_ERROR_NO_DEVICE)",
            r"cuda_diagnostics\.cc",
        )
    ).encode()
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop TensorFlow's start-up lines from standard error (file descriptor 2).

    All other lines are written when the block ends, and all lines if it ends with an error. Nothing
    is suppressed if TF_CPP_MIN_LOG_LEVEL is 0, which asks for these lines, if standard error is
    closed, or if no temporary file can be created.
    """
    held = None
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0" and sys.__stderr__ is not None:
        with contextlib.suppress(OSError):
            held = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    if held is None:
        yield
        return
    _flush()
    screen = os.dup(2)
    os.dup2(held.fileno(), 2)
    dropped = _NOISE
    try:
        yield
    except BaseException:
        dropped = None
        raise
    finally:
        _flush()
        os.dup2(screen, 2)
        # The reader of a pipe may have exited.
        with held, contextlib.suppress(OSError), os.fdopen(screen, "wb") as out:
            held.seek(0)
            out.writelines(line for line in held if not (dropped and dropped.search(line)))


def _flush():
    # sys.stderr may be closed, None, or another object.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
