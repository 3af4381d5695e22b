"""One module per entry point: combines the packages below and tracks their results."""
