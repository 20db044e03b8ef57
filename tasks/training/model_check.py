"""The check that a model can be trained record by record, and Opacus' mend."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from tasks.base import ModelRefusedError
from tasks.training import buffers
from tasks.training.opacus_import import ModuleValidator


def check_model(model: nn.Module) -> list[str]:
    """Return the reasons, one for each layer, why the model cannot be trained per record.

    The reasons are those of Opacus' ``ModuleValidator``, asked here for every layer: on its own
    it leaves out layers without trainable parameters and subclasses of known layers, and a
    BatchNorm mixes the records in any case. Recurrent layers and attention are taken as they
    are. Buffers are refused as well: they change with the records, or else nobody exchanges
    them. What no check sees is a model whose own code mixes
    the records of a batch; the contract tests compare each record's scores alone and with
    others.
    """
    reasons: list[str] = []
    for name, layer in model.named_modules():
        found = [str(error) for error in _errors(layer)] or [buffers.objection(layer)]
        reasons += [f"{buffers.where(name, layer)}: {reason}" for reason in found if reason]
    return reasons


def fix_model(model: nn.Module) -> nn.Module:
    """Return a copy in which Opacus has replaced what it can, e.g. BatchNorm by GroupNorm.

    Call it on the untrained model: a GroupNorm starts afresh. ``check_model`` tells what is
    left: Opacus replaces neither layers without trainable parameters nor subclasses.
    """
    fixed = ModuleValidator.fix(model)
    before = dict(model.named_modules())
    for name, layer in fixed.named_modules():
        # Opacus' 32 groups leave one number in each where a record is a vector of 32, and a
        # number normalised by itself is 0. One group is what LayerNorm does.
        if isinstance(layer, nn.GroupNorm) and isinstance(before.get(name), nn.BatchNorm1d):
            layer.num_groups = 1
        # Opacus switches the running statistics off but leaves their buffers, which torch would
        # go on updating.
        if isinstance(layer, _NormBase) and not layer.track_running_stats:
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return fixed


def admit_model(model: nn.Module, fix: bool = False) -> nn.Module:
    """Return the model, or its mended copy if asked to mend it.

    Raises
    ------
    ModelRefusedError
        If it cannot be trained per record, naming the layers and the mend.
    """
    admitted = fix_model(model) if fix else model
    if reasons := check_model(admitted):
        mend = (
            "privacy.fix_model=true has replaced what Opacus can; write the rest with"
            if fix
            else "privacy.fix_model=true lets Opacus replace what it can, or write it with"
        )
        raise ModelRefusedError(
            "the model cannot be trained record by record:\n  "
            + "\n  ".join(reasons)
            + f"\n{mend} GroupNorm or LayerNorm and without buffers"
        )
    return admitted


#: Layers that Opacus refuses because its hooks do not see into them. No hook is used here: see
#: ``tasks.training.record_gradients``. Nothing in them mixes the records.
_CLOSED_TO_HOOKS = (nn.GRU, nn.LSTM, nn.MultiheadAttention)


def _errors(layer: nn.Module) -> list[Exception]:
    """Return Opacus' errors about a layer itself, by its class or the nearest base class."""
    if isinstance(layer, _CLOSED_TO_HOOKS):
        return []
    for kind in type(layer).__mro__:
        if kind in ModuleValidator.VALIDATORS:
            return ModuleValidator.VALIDATORS[kind](layer)
    return []
