"""Methods beside each other: the same rows, the same seeds, and labels for the scorer alone."""
