"""Processes that do parts of a study at the same time: of this machine, or of a Dask cluster."""
