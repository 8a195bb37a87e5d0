"""Make imports lazy and quiet, name missing packages, and register our losses with Keras."""
