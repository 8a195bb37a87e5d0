"""Work for executors that needs no network: it sleeps, counts, fails or dies as the task says."""

import os
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
