"""Published losses of others, each in a file of its own with its source."""
