"""First steps of a worker on this machine: Dask imports this module in it."""

from resnet_mlflow.process import become_worker, quiet_libraries

become_worker()
quiet_libraries()
