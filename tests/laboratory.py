"""Work for executors that needs no network: it sleeps, counts, fails or dies as the task says."""

import contextlib
import os
import random
import signal
import threading
import time


class Work:
    """Builds something once, as a compiled network would be, and answers tasks."""

    def __init__(self):
        self.built = None

    def __call__(self, task, on_epoch=None):
        self.built = self.built or (os.getpid(), threading.get_ident())
        return getattr(self, task[0])(*task[1:], on_epoch=on_epoch)

    def square(self, x, on_epoch=None):
        return x * x

    def builder(self, seconds=0.0, on_epoch=None):
        time.sleep(seconds)
        return self.built

    def gpus(self, seconds, on_epoch=None):
        time.sleep(seconds)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    def keras_settings(self, on_epoch=None):
        import keras

        return keras.config.dtype_policy().name, keras.config.epsilon()

    def epochs(self, count, pause, on_epoch=None):
        for epoch in range(1, count + 1):
            time.sleep(pause)
            on_epoch(epoch, {"loss": 1 / epoch})
        return count

    def die(self, times, folder, on_epoch=None):
        """Die so often, then answer."""
        deaths = len(list(folder.iterdir()))
        if deaths < times:
            (folder / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return deaths

    def fail(self, kind, message, on_epoch=None):
        raise kind(message)

    def unpicklable(self, on_epoch=None):
        return threading.Lock()

    def other(self, task):
        return "other", task


class Watched:
    """Says in a folder which processes work, so that a saboteur can find them."""

    def __init__(self, work, folder):
        self.work = work
        self.folder = folder

    def __call__(self, task, on_epoch=None):
        mark = self.folder / str(os.getpid())
        mark.touch()
        try:
            return self.work(task, on_epoch=on_epoch)
        finally:
            mark.unlink(missing_ok=True)


class Saboteur(threading.Thread):
    """Kills a working process now and then, with SIGKILL, until it has killed enough."""

    def __init__(self, folder, kills, pause, seed=0):
        super().__init__(daemon=True)
        self.folder = folder
        self.limit = kills
        self.pause = pause
        self.random = random.Random(seed)
        self.kills = 0
        self._stop_event = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._stop_event.set()
        self.join()

    def run(self):
        while self.kills < self.limit and not self._stop_event.wait(
            self.random.uniform(*self.pause)
        ):
            marks = sorted(self.folder.iterdir())
            if marks:
                mark = self.random.choice(marks)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(mark.name), signal.SIGKILL)
                    self.kills += 1
                mark.unlink(missing_ok=True)
