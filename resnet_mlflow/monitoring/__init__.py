"""Whether images are still like those a classifier was promoted on: two-sample tests, and how soon they notice."""
