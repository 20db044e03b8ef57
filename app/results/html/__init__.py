"""The report of a run as one HTML file, drawn from the run folder alone."""
