"""What an attack on canaries proves about a mechanism: lower bounds to hold against a claim."""
