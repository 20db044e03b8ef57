"""Time series of a participant's own, in long form: a row for each unit and time."""
