"""The client's half of a round: from a request to a contribution that may leave."""
