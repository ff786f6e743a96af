"""Scripts that draw data and train the bundled demo checkpoints. Not imported by the server."""
