"""One script per MLproject entry point: parse the configuration, call the stage."""
