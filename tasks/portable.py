"""A model as a sequence of layers, and as TorchScript: for tools without the task's code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tasks.hazards import ProportionalOdds
from tasks.models import SmallCNN
from tasks.smaller import plain_name, rounded
from tasks.svm import RandomFourierFeatures

# What rounding in another order leaves, of outputs of 1.
_CLOSE = 1e-5


class NoSequenceError(ValueError):
    """A model that is no sequence of known layers. One line that names the layer."""


class ScriptError(ValueError):
    """A model whose trace says something else than itself. One line, with the mend."""


@dataclass(frozen=True)
class Rounded:
    """A constant in int8.

    Attributes
    ----------
    numbers : ndarray of int8
        Its numbers.
    scales : ndarray of float32, shape (channels,)
        What those of a channel are multiplied by.
    channels : int
        The dimension that goes by channels.
    """

    numbers: NDArray[np.int8]
    scales: NDArray[np.float32]
    channels: int


@dataclass(frozen=True)
class Layer:
    """One step from the last output to the next, in the words of ONNX.

    Attributes
    ----------
    operator : str
        The operator of ONNX.
    constants : tuple of ndarray or Rounded
        Its further inputs.
    attributes : dict
        Its attributes.
    """

    operator: str
    constants: tuple[NDArray[Any] | Rounded, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a model of known ones, in order.

    Raises
    ------
    NoSequenceError
        If there is a layer of another kind.
    """
    return list(_layers(model, "model"))


def _layers(module: nn.Module, name: str) -> Iterator[Layer]:
    # A layer in int8 has a class of its own, made of this one.
    kind = parametrize.type_before_parametrizations(module)
    if isinstance(module, nn.Sequential):
        for place, layer in module.named_children():
            yield from _layers(layer, f"{name}.{place}")
    elif isinstance(module, SmallCNN):
        yield from _layers(module.features, f"{name}.features")
        yield Layer("Flatten", attributes={"axis": 1})
        yield from _layers(module.classifier, f"{name}.classifier")
    elif (known := _KNOWN.get(kind)) is not None:
        yield from known(module)
    else:
        raise NoSequenceError(
            f"{name} is a {kind.__name__}; known are"
            f" {', '.join(sorted(kind.__name__ for kind in _KNOWN))} in sequence"
        )


def _linear(layer: nn.Linear) -> Iterator[Layer]:
    yield Layer("MatMul", (_weight(layer, is_turned=True),))
    # pyright takes a bias for given, but it may be None.
    if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
        yield Layer("Add", (_values(layer.bias),))


def _convolution(layer: nn.Conv2d) -> Iterator[Layer]:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise NoSequenceError(f"a Conv2d pads by {layer.padding_mode}, {layer.padding}")
    constants: list[NDArray[Any] | Rounded] = [_weight(layer)]
    constants += [] if layer.bias is None else [_values(layer.bias)]
    attributes = {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "dilations": list(layer.dilation),
        "group": layer.groups,
        "pads": [*layer.padding, *layer.padding],
    }
    yield Layer("Conv", tuple(constants), attributes)


def _pool(layer: nn.MaxPool2d) -> Iterator[Layer]:
    if layer.return_indices:
        raise NoSequenceError("a MaxPool2d returns indices")
    padding = _pair(layer.padding)
    attributes = {
        "kernel_shape": _pair(layer.kernel_size),
        "strides": _pair(layer.stride),
        "dilations": _pair(layer.dilation),
        "pads": [*padding, *padding],
        "ceil_mode": int(layer.ceil_mode),
    }
    yield Layer("MaxPool", attributes=attributes)


def _fourier(layer: RandomFourierFeatures) -> Iterator[Layer]:
    yield Layer("MatMul", (_values(layer.frequencies).T.copy(),))
    yield Layer("Add", (_values(layer.phases),))
    yield Layer("Cos")
    yield Layer("Mul", (np.array(sqrt(2 / len(layer.phases)), np.float32),))


def _odds(layer: ProportionalOdds) -> Iterator[Layer]:
    # One linear predictor for all intervals.
    yield from _linear(layer.predictor)
    yield Layer("Add", (_values(layer.baseline),))


def _nothing(_: nn.Module) -> Iterator[Layer]:
    yield from ()


def _relu(_: nn.Module) -> Iterator[Layer]:
    yield Layer("Relu")


_KNOWN: dict[type[nn.Module], Callable[[Any], Iterator[Layer]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.Identity: _nothing,
    nn.MaxPool2d: _pool,
    nn.ReLU: _relu,
    ProportionalOdds: _odds,
    RandomFourierFeatures: _fourier,
}


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _weight(layer: nn.Linear | nn.Conv2d, is_turned: bool = False) -> NDArray[Any] | Rounded:
    """Return a layer's weight, its output channels first, or last where it is turned."""
    found = rounded(layer, "weight")
    if found is None:
        values = _values(layer.weight)
        return values.T.copy() if is_turned else values
    numbers, scales = map(_values, found)
    return Rounded(numbers.T.copy() if is_turned else numbers, scales.ravel(), int(is_turned))


def _values(parameter: Tensor) -> NDArray[Any]:
    return parameter.detach().cpu().numpy()


def all_tensors(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return a model's whole state by name, frozen parameters too: ``load_state_dict``'s.

    Of a weight in int8 it has the numbers by its name, and what they are to be multiplied by as
    NAME.scale.
    """
    state = model.state_dict()
    return {plain_name(name): _values(tensor).copy() for name, tensor in state.items()}


def torchscript(model: nn.Module, inputs: NDArray[np.float32]) -> bytes:
    """Return a file for ``torch.jit.load``: the trace of a model, evaluating.

    Parameters
    ----------
    model : nn.Module
        The model.
    inputs : ndarray, float32, shape (n, ...)
        Records of nobody; n is at least 2. The trace must say of each alone what the model says
        of all, so that nothing of their number is in it.

    Raises
    ------
    ScriptError
        If it does not.
    """
    model.eval()
    given = torch.from_numpy(inputs)
    with torch.inference_mode(), warnings.catch_warnings():
        # torch recommends another format, which only torch of the same version reads.
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(model, given[:1], check_trace=False)
            file = io.BytesIO()
            torch.jit.save(traced, file)
            loaded = torch.jit.load(io.BytesIO(file.getvalue()))
            due = model(given)
            found = [loaded(given), *(loaded(given[k : k + 1]) for k in range(len(given)))]
        except Exception as error:
            raise ScriptError(
                f"the model cannot be traced: {(str(error).splitlines() or ['?'])[0]}"
            ) from error
    for one, own in zip(found, [due, *due.split(1)], strict=True):
        if one.shape != own.shape or not torch.allclose(one, own, rtol=_CLOSE, atol=_CLOSE):
            raise ScriptError(
                "the model's trace says something else than the model: its code looks at values"
                " or at the number of records; take --format safetensors"
            )
    return file.getvalue()
