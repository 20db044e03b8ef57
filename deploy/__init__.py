"""A federation on one machine, for trials, tests and the demo."""
