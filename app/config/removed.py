"""Keys that were taken out, and what stands in their place."""

from collections.abc import Mapping
from types import MappingProxyType

REMOVED: Mapping[str, str] = MappingProxyType(
    {
        "aggregation.consistency_check": (
            "with aggregation.identities=true nodes always check that they have one view; take"
            " it out"
        ),
        "aggregation.num_neighbors": (
            "the number is computed; take aggregation.graph=complete, or"
            " aggregation.graph=sparse"
        ),
        "privacy.grad_sample_mode": (
            "each record's gradient is computed alone, so that no other record changes its"
            " rounding; take it out"
        ),
        "privacy.max_physical_batch": "one record is in memory at a time; take it out",
    }
)
