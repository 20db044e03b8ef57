"""The command line of the node's owner and of who starts a run."""
