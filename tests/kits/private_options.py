"""What each privacy option needs to be given, for four nodes."""

_CLIENT = "privacy.epsilon=20 privacy.delta=1e-3 privacy.clip_norm=0.5 privacy.population=4"
_EXAMPLE = (
    "privacy.epsilon=3 privacy.delta=1e-3 privacy.clip_norm=0.5 privacy.population=4"
    " privacy.sampling_rate=0.5"
)
_MASKED = " aggregation.min_survivors=3"

#: Overrides that make each option whole, over ``secagg``.
OVERRIDES = {
    "none": "",
    "example_local": f"{_EXAMPLE} privacy.expected_batch_size=45",
    "example_distributed": f"{_EXAMPLE} privacy.expected_batch_size=180{_MASKED}",
    "example_central": f"{_EXAMPLE} privacy.expected_batch_size=180",
    "client_local": _CLIENT,
    "client_distributed": f"{_CLIENT}{_MASKED}",
    "client_central": _CLIENT,
}
