"""The ledger of a node's releases, and its cap."""
