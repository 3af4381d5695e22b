"""The model card of a version: what is known of it, section by section, as Markdown and as one page."""
