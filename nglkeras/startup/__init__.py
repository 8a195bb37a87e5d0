"""What an import does: nothing heavy, nothing on the screen, losses registered with Keras."""
