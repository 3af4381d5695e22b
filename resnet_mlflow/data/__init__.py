"""Images with labels: where they come from, how they are split, read, resized and augmented."""
