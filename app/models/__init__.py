"""A registry of models: a folder with an entry, signed by a coordinator, for each version."""
