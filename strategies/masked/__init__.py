"""The sum under masks: the protocol's messages over Flower."""
