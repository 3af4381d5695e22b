"""One module per entry point: composes the rooms below, and tracks what they give."""
