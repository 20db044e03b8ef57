"""Exports: that a smaller file holds what the command says it holds."""

from tests.mutants.mutation import Mutation

_SMALLER = "tasks/smaller.py"
_OPTIONS = "app/export/smaller.py"
_TESTS = "tests/app/export/test_smaller.py"
_ROUNDED = (f"{_TESTS}::test_torchscript_and_safetensors_are_the_rounded_model",)

MUTATIONS = (
    Mutation(
        "int8-has-one-scale-for-a-whole-layer",
        _SMALLER,
        "scales = weight.abs().amax(dim=others, keepdim=True) / _LARGEST",
        "scales = weight.abs().amax().expand_as(weight).amax(others, True) / _LARGEST",
        _ROUNDED,
    ),
    Mutation(
        "the-model-that-is-given-is-made-smaller-itself",
        _OPTIONS,
        "deepcopy(_network_of(model))",
        "_network_of(model)",
        _ROUNDED,
    ),
    Mutation(
        "weights-that-are-not-finite-are-rounded",
        _SMALLER,
        "if not torch.isfinite(tensor).all():",
        "if torch.isposinf(tensor).any():",
        ("tests/tasks/test_smaller.py::test_a_network_with_a_number_that_is_none_is_refused",),
    ),
    Mutation(
        "a-channel-of-zeros-is-zero-over-zero",
        _SMALLER,
        "scales = scales.clamp_min(torch.finfo(weight.dtype).tiny)",
        "scales = scales.clamp_min(0)",
        ("tests/tasks/test_smaller.py::test_a_channel_of_zeros_stays_zero",),
    ),
    Mutation(
        "a-layer-of-opacus-keeps-all-digits-beside-the-int8",
        _SMALLER,
        "if layer._parameters.get(name) is weight:",
        "if layer._parameters.get(name) is name:",
        ("tests/tasks/test_smaller.py::test_a_layer_of_opacus_keeps_no_weight_in_all_digits",),
    ),
    Mutation(
        "the-whole-model-is-scored-as-the-smaller-one",
        _OPTIONS,
        "before, after = whole.predict(data), small.predict(data)",
        "before, after = whole.predict(data), whole.predict(data)",
        (
            "tests/app/export/test_smaller_command.py"
            "::test_rows_with_a_label_are_scored_before_and_after",
        ),
    ),
)
