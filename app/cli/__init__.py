"""The command line, for a node's owner and for whoever starts a run."""
