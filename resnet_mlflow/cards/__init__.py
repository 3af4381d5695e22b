"""The model card of a version, section by section, as Markdown and as one page."""
