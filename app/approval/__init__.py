"""Which code a node runs: bundles, the guard before them, and the SuperNode around both."""
