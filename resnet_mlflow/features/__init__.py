"""Features of images: their identity and key, how they are computed, and where they are kept."""
