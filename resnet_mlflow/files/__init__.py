"""Files of this machine: paths that users name, locks, scratch folders, and YAML that is bounded."""
