"""One module per entry point: composes the parts of the package, and tracks what they give."""
