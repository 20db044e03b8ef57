"""Opacus, imported without its side effect. Import it from here, and only to train: it is slow.

Opacus sets up Python's root logger when it is imported, and from then on every line of the
node's own log would appear twice.
"""

import logging

_placeholder = logging.NullHandler()
# logging.basicConfig leaves a root logger alone that has a handler.
logging.root.addHandler(_placeholder)
try:
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.validators import ModuleValidator
finally:
    logging.root.removeHandler(_placeholder)

__all__ = ["GradSampleModule", "GradSampleModuleFastGradientClipping", "ModuleValidator"]
