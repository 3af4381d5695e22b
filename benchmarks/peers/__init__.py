"""The plain scripts most people write, without handicap: what the project is measured against."""
