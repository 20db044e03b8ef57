"""The parts of Opacus that train, without the rest. Import them from here.

``import opacus`` loads optimisers and accountants, with scipy.stats and more, of which nothing
is used here: one and a half seconds, and in a deployment every message is a fresh process.
It also sets up Python's root logger, and from then on every line of the node's own log
would appear twice.
"""

import importlib.util
import logging
import sys
from types import ModuleType

# Opacus names it without importing it.
import torch.distributed.fsdp  # noqa: F401

_NAME = "opacus"


def _bare_package() -> ModuleType:
    """Return the package of Opacus before its ``__init__`` has run."""
    spec = importlib.util.find_spec(_NAME)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
    package = ModuleType(_NAME)
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
    return package


_placeholder = logging.NullHandler()
# logging.basicConfig leaves a root logger alone that has a handler.
logging.root.addHandler(_placeholder)
_is_loaded = _NAME in sys.modules
if not _is_loaded:
    sys.modules[_NAME] = _bare_package()
try:
    from opacus.optimizers import DPOptimizer
    from opacus.validators import ModuleValidator
finally:
    logging.root.removeHandler(_placeholder)
    if not _is_loaded:
        # `from opacus import PrivacyEngine` still finds all of it.
        del sys.modules[_NAME]

__all__ = ["DPOptimizer", "ModuleValidator"]
