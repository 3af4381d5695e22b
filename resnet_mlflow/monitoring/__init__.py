"""Whether images still resemble those a classifier was promoted on: two-sample tests and their power."""
