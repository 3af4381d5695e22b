"""Plain scripts as most people write them, without handicap: the reference for the project's speed."""
