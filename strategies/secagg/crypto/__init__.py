"""Keys, keystreams, secret sharing and masks."""
