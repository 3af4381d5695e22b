"""Files of this machine: paths that users name, locks, scratch folders, and bounded YAML."""
