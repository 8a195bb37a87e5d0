"""Read data sets into memory without TensorFlow; `pipeline` does so with it."""

from dataclasses import dataclass

import numpy as np

from nglkeras.data import images
from nglkeras.data.catalog import Info
from nglkeras.data.division import splits_with
from nglkeras.data.sources import Source


@dataclass(frozen=True)
class Reader:
    """The way from examples on disk to arrays."""

    source: Source
    info: Info
    parts: dict[str, np.ndarray]
    size: tuple[int, int]

    def in_memory(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of a part and their labels.

        Images have the smaller of their own size and the wanted one: uint8 as they lie on disk, or
        float32 where they are resized.
        """
        height, width, _ = self.info.image_size
        shrinks = height is None or height * width > self.size[0] * self.size[1]
        found, labels = [], []
        for split in splits_with(part, self.parts):
            rows = np.flatnonzero(self.parts[split] == part)
            for image, label in self.source.examples(split, rows):
                found.append(images.resize(image, self.size) if shrinks else image)
                labels.append(label)
        return np.stack(found), np.array(labels, "int64")
