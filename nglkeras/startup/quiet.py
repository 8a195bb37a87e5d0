"""Keep from the screen what TensorFlow writes when it is imported.

TensorFlow writes several lines to standard error at its import, whatever its environment variables
say, and some more when it first looks for a GPU where there is none.
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
            # Three plugins that TensorFlow's own library registers twice.
            "Unable to register cu(DNN|FFT|BLAS) factory",
            "computation placer already registered",
            "Could not find TensorRT",
            # There is no GPU or driver (303), or the user hides the GPU. Other errors are news.
            r"failed call to cuInit: .*(UNKNOWN ERROR \(303\)|CUDA_ERROR_NO_DEVICE)",
            r"cuda_diagnostics\.cc",
        )
    ).encode()
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop TensorFlow's start-up lines from what is written to file descriptor 2.

    All other lines appear when the block ends, and all lines if it ends in an error. Nothing is
    held back if TF_CPP_MIN_LOG_LEVEL is 0, by which users ask for these lines, if standard error
    is closed, or if there is no place for a temporary file.
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
        # Whoever read our standard error may be gone.
        with held, contextlib.suppress(OSError), os.fdopen(screen, "wb") as out:
            held.seek(0)
            out.writelines(line for line in held if not (dropped and dropped.search(line)))


def _flush():
    # It may be closed, or replaced by something else.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
