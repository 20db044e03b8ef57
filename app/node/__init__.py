"""The node itself: settings, policy, spending, identity, and where it keeps secrets."""
