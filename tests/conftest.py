"""Two logical CPUs, so that there are two devices to share a batch, wherever tests run."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import nglkeras  # noqa: F401 - before Keras: it keeps TensorFlow's start-up lines off the screen

if os.environ.get("KERAS_BACKEND") == "jax":
    # JAX counts its CPUs when it is first used; scripts that tests start inherit it.
    two = "--xla_force_host_platform_device_count=2"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {two}".strip()

import keras
import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
# Modules that are imported where JAX or PyTorch is the backend.
OF_ONE_BACKEND = ("kernel_torch", "program", "one_program", "places")
# Where pytest's cache has the tests that no run has run yet.
SKIPPED = "nglkeras/skipped"
# What neither `import nglkeras` nor a script's --help may import: it takes seconds.
HEAVY = ("keras", "tensorflow", "matplotlib", "pandas", "scipy", "sklearn", "gplearn", "PIL")

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute belongs to TensorFlow"
)
needs_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution shares batches on JAX only"
)
needs_two_devices = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch trains on one device"
)


def pytest_addoption(parser):
    parser.addoption(
        "--soak",
        action="store_true",
        help="faults in full: 500 trials, 20 kills and more; whole segmentation networks",
    )
    parser.addoption(
        "--skipped",
        action="store_true",
        help="only what earlier runs have skipped and none has run: after packages were installed",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--skipped"):
        known = set(config.cache.get(SKIPPED, []))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in known])
        items[:] = [item for item in items if item.nodeid in known]


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get("passed", [])
    skipped = {report.nodeid for report in terminalreporter.stats.get("skipped", [])}
    done = {report.nodeid for report in reports}
    cache = getattr(terminalreporter.config, "cache", None)
    if cache is not None:
        cache.set(SKIPPED, sorted(skipped | set(cache.get(SKIPPED, [])) - done))
    counts = [n for r in reports for name, n in r.user_properties if name == "combinations"]
    if counts:
        terminalreporter.write_line(
            f"{sum(counts)} combinations of losses, heads and options checked on "
            f"{keras.backend.backend()}"
        )


@pytest.fixture
def mirrored():
    """What shares batches over both CPUs; one for all tests, as for all trials of a process."""
    from nglkeras.training.devices import mirrored_strategy

    return mirrored_strategy(2)


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script of reproduce/ in this process; returns (exit code, stdout, stderr)."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(ROOT / "reproduce" / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def mistake(script, tmp_path):
    """Runs a script that must end with a mistake of the user; returns its line without "error: ".

    Without `--out` among the arguments, results go to a temporary folder.
    """

    def run(name, *arguments, out=tmp_path):
        if out is not None and "--out" not in arguments:
            arguments = [*arguments, "--out", out]
        code, _, err = script(name, *arguments)
        assert code == 2, err
        assert "Traceback" not in err
        # A progress bar may stand before it.
        _, found, error = err.strip().splitlines()[-1].partition("error: ")
        assert found
        return error

    return run


def command_of(script, *options):
    """Return the command line of a script of reproduce/, for a process of its own."""
    return [sys.executable, str(ROOT / "reproduce" / f"{script}.py"), *map(str, options)]


def finish(script, *options):
    """Run a script in a process of its own, to its end."""
    done = subprocess.run(command_of(script, *options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def wait_for_rows(folder, count, process):
    """Wait until the journals in a folder have this many rows, or the process has ended."""
    while process.poll() is None:
        lines = [path.read_text().count("\n") for path in folder.glob("*.jsonl")]
        if sum(lines) >= count:
            return
        time.sleep(0.05)


def run_python(code):
    """Runs a program in a process of its own that finds this package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def to_numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x)).astype("float64")


def images_of(stream):
    """Every real image of a stream as a set of bytes: for telling sets of images apart."""
    found = []
    for images, _, *weights in stream:
        keep = weights[0].numpy() > 0 if weights else slice(None)
        found += [image.tobytes() for image in images.numpy()[keep]]
    return found


@pytest.fixture(scope="session")
def tfds_directory(tmp_path_factory):
    """A folder with tiny data sets as TFDS itself writes them: random images, all classes."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    for name, splits in TINY.items():
        builder = tfds.builder(name, data_dir=folder)
        features = builder.info.features
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=str(builder.version),
            features=features,
            split_datasets={split: _examples(features, count) for split, count in splits.items()},
            data_dir=folder,
        )
    return folder


# With and without a test split or a validation split, with and without a size of their own.
TINY = {
    "fashion_mnist": {"train": 60, "test": 20},
    "cifar10": {"train": 60, "test": 20},
    "caltech101": {"train": 60, "test": 20},
    "patch_camelyon": {"train": 60, "validation": 12, "test": 20},
    "malaria": {"train": 60},
    "colorectal_histology": {"train": 60},
}


def _examples(features, count):
    random = np.random.default_rng(0)
    height, width, channels = features["image"].shape
    for i in range(count):
        # Where images differ in size, these do.
        shape = (height or 40 + i % 7, width or 50 + i % 5, channels)
        others = dict.fromkeys(features, "")
        image = random.integers(0, 256, shape, dtype="uint8")
        label = i % features["label"].num_classes
        yield i, others | {"image": image, "label": label}


def fill(root, split, count):
    """Write `count` red and as many blue images of several sizes."""
    for i in range(count):
        for channel, name in enumerate(("red", "green", "blue")):
            if name != "green":
                pixels = np.zeros((12 + i, 20, 3), "uint8")
                pixels[..., channel] = 100 + i
                path = root / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root
