"""Check a model, a loss and data against each other before a training: `check`."""
