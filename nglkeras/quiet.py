"""What the import of TensorFlow and Keras brings with it.

TensorFlow writes several lines to standard error when it is imported, whatever its variables say,
and some more when it first looks for a GPU where there is none. `quiet` keeps these lines, and
only these, from the screen. `watch` has that done whenever TensorFlow is imported later, and has
our losses registered as soon as Keras is there: a saved model finds no others.
"""

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from importlib.abc import MetaPathFinder

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
# Whose import registers them with Keras.
_LOSSES = "nglkeras.losses"
# Shows what is held if the process dies, e.g. of a processor that TensorFlow was not built for.
_WATCHER = 'read done || { cat "$0" >&2; rm -f "$0"; }'


class _Quiet:
    """Holds what is written to file descriptor 2, and drops TensorFlow's start-up lines of it.

    All other lines are written when the block ends, and all lines if it ends in an error. Nothing
    is held if TF_CPP_MIN_LOG_LEVEL is 0, by which users ask for the lines, or if standard error
    is closed. Blocks may be nested, or entered by several threads: the last one to end counts.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._blocks = 0
        self._failed = False
        self._release = None

    def __enter__(self):
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                self._failed = False
                self._release = self._hold()

    def __exit__(self, kind, error, traceback):
        with self._lock:
            self._failed |= isinstance(error, Exception)
            self._blocks -= 1
            if self._blocks == 0:
                self._release()

    def _hold(self):
        """Begin; returns what ends it."""
        with contextlib.ExitStack() as stack:
            if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0" or sys.__stderr__ is None:
                return stack.pop_all().close
            with contextlib.suppress(OSError, ValueError):
                screen = os.dup(2)
                stack.callback(os.close, screen)
                held = stack.enter_context(tempfile.NamedTemporaryFile())
                _flush()
                stack.enter_context(_watched(held.name, screen))
                os.dup2(held.fileno(), 2)
                stack.callback(self._show, held, screen)
            return stack.pop_all().close

    def _show(self, held, screen):
        _flush()
        os.dup2(screen, 2)
        held.seek(0)
        # Whoever read our standard error may be gone.
        with contextlib.suppress(OSError), os.fdopen(os.dup(screen), "wb") as out:
            out.writelines(line for line in held if self._failed or not _NOISE.search(line))


def _flush():
    # Closed or replaced by something else.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()


@contextlib.contextmanager
def _watched(path, screen):
    try:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, path], stdin=subprocess.PIPE, stdout=screen, stderr=screen
        )
    except OSError:
        # No such shell: a process that dies takes with it what it wrote.
        yield
        return
    yield
    with contextlib.suppress(OSError):
        watcher.communicate(b"done\n")


quiet = _Quiet()


class _Watch(MetaPathFinder):
    """Lets the other finders find TensorFlow and Keras, and adds something to their import."""

    def find_spec(self, name, path=None, target=None):
        """Find as the others do; see `importlib.abc.MetaPathFinder`."""
        if name not in _IMPORTS or name in sys.modules:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        # Loaders of another kind may serve other modules too.
        if (
            spec is not None
            and hasattr(spec.loader, "exec_module")
            and hasattr(spec.loader, "path")
        ):
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _IMPORTS[name](execute, module)
        return spec


def _import_tensorflow(execute, module):
    with quiet:
        execute(module)
        # Where there is no GPU, it says so once, at the first look: now rather than later.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if module.test.is_built_with_cuda() and (hidden or shutil.which("nvidia-smi") is None):
            module.config.list_physical_devices("GPU")


def _import_keras(execute, module):
    execute(module)
    # If another thread is importing them and waits for Keras, neither may wait for the other.
    if _LOSSES not in sys.modules:
        importlib.import_module(_LOSSES)


_IMPORTS = {"tensorflow": _import_tensorflow, "keras": _import_keras}


def watch() -> None:
    """Have TensorFlow imported quietly and our losses registered, now or when Keras is imported."""
    if "keras" in sys.modules:
        importlib.import_module(_LOSSES)
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
