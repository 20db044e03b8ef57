"""The audit of a run's privacy, for ``tacet audit``: an attack through the real code."""
