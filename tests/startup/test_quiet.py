"""What TensorFlow prints when it is imported is kept from the screen, and nothing else is."""

import os
import sys

import pytest

from nglkeras.startup.quiet import quiet

NOISE = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795641561.808497   10246 port.cc:153] oneDNN custom operations are on. You may",
    "2025-01-01 10:00:00.12: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.",
    "I0000 00:00:1795641928.847623   20670 cpu_feature_guard.cc:227] This TensorFlow binary is "
    "optimized to use available CPU instructions in performance-critical operations.",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
    "I0000 00:00:1795641928.689471   20670 cudart_stub.cc:31] Could not find cuda drivers on your "
    "machine, GPU will not be used.",
    "E0000 00:00:1795641941.565125   20670 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)",
    "E0000 00:00:1795641941.565125   20670 cuda_dnn.cc:8579] Unable to register cuDNN factory: "
    "Attempting to register factory for plugin cuDNN when one has already been registered",
)
NEWS = (
    "E0000 00:00:1795641941.565125   20670 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    "W0000 00:00:1795641941.565125   20670 gpu_device.cc:2340] Cannot dlopen some GPU libraries.",
    "Traceback (most recent call last):",
    "äöü \udcff",
)


@pytest.fixture(autouse=True)
def _nobody_asks_for_the_lines(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")


def write(*lines):
    """To the descriptor itself, as C++ does."""
    os.write(2, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))


def written(capfd):
    return capfd.readouterr().err.splitlines()


class TestQuiet:
    def test_only_noise_is_dropped(self, capfd):
        with quiet():
            write(*NOISE[:3], NEWS[0], *NOISE[3:], *NEWS[1:3])
            assert written(capfd) == []
        assert written(capfd) == list(NEWS[:3])
        write(*NOISE)
        assert written(capfd) == list(NOISE)

    def test_bytes_that_are_no_text_come_through(self, capfdbinary):
        with quiet():
            write(NEWS[3])
            os.write(2, b"and no end of line")
        assert capfdbinary.readouterr().err == "äöü ".encode() + b"\xff\nand no end of line"

    def test_an_error_shows_all(self, capfd):
        def fail():
            with quiet():
                write(*NOISE, *NEWS[:3])
                raise ImportError

        with pytest.raises(ImportError):
            fail()
        assert written(capfd) == [*NOISE, *NEWS[:3]]
        with quiet():
            write(*NOISE)
        assert written(capfd) == []

    def test_who_asks_for_the_lines_gets_them(self, capfd, monkeypatch):
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        with quiet():
            write(*NOISE)
            assert written(capfd) == list(NOISE)

    def test_without_a_folder_for_temporary_files(self, capfd, monkeypatch):
        def full(*args, **kwargs):
            raise OSError

        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with quiet():
            write(NOISE[0])
        write(NEWS[0])
        assert written(capfd) == [NOISE[0], NEWS[0]]

    @pytest.mark.parametrize("sys_stderr", [None, "closed"])
    def test_without_standard_error_in_python(self, capfd, monkeypatch, tmp_path, sys_stderr):
        if sys_stderr is not None:
            sys_stderr = (tmp_path / "err").open("w")
            sys_stderr.close()
        monkeypatch.setattr(sys, "stderr", sys_stderr)
        with quiet():
            write(*NOISE, NEWS[0])
        assert written(capfd) == [NEWS[0]]
