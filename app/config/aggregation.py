"""The typed configuration of the aggregations: how the sum is computed."""

from dataclasses import dataclass, field

from tasks.schema import require


@dataclass
class AggregationConfig:
    """How the sum of the contributions is computed."""


@dataclass
class CodecConfig:
    """Fixed point: contributions as integers modulo 2^b.

    Attributes
    ----------
    modulus_bits : int
        b: bits for each parameter on the wire, from 8 to 64.
    clip_range : float
        Entries of a weighted update are clipped to +- this, above 0.
    max_weight_examples : int
        A client with more examples than this counts as one with this many, at least 1.
    """

    modulus_bits: int = 32
    clip_range: float = 8.0
    max_weight_examples: int = 10_000

    def __post_init__(self) -> None:
        name = "aggregation.codec"
        require(
            8 <= self.modulus_bits <= 64,
            f"{name}.modulus_bits={self.modulus_bits}: must be from 8 to 64",
        )
        require(
            0 < self.clip_range < float("inf"),
            f"{name}.clip_range={self.clip_range}: must be above 0",
        )
        require(
            self.max_weight_examples >= 1,
            f"{name}.max_weight_examples={self.max_weight_examples}: must be at least 1",
        )


@dataclass
class PlainConfig(AggregationConfig):
    """The server sees every update: a baseline, and for debugging.

    Attributes
    ----------
    through_codec : bool
        Add in fixed point, as ``secagg`` does, so that both give the same model bit for bit.
    codec : CodecConfig
        Used only with ``through_codec``.
    """

    through_codec: bool = False
    codec: CodecConfig = field(default_factory=CodecConfig)


@dataclass
class SecAggConfig(AggregationConfig):
    """The server hears only the sum. See ``docs/secure-aggregation.md``.

    Attributes
    ----------
    codec : CodecConfig
        Fixed point.
    min_survivors : int
        T: a sum over fewer is never opened; 0 for two thirds of the roster, plus one.
    max_colluding : int
        c: so many clients may collude with the server.
    threshold : int
        t: shares that rebuild a seed; 0 for two thirds of the neighbourhood, plus one.
    num_neighbors : int
        Clients that each one masks with; 0 for all up to 32 clients, then as many as keep the
        chance of a failed round below 1e-9.
    max_dropout_fraction : float
        The dropouts for which that number is chosen, in [0, 1).
    consistency_check : bool
        Survivors sign the survivor set before anything is opened; needs identities.
    identities : bool
        Adverts are signed, and checked against each node's own peers file.
    peers_file : str
        The peers file on the server, which then leaves out early what nodes would refuse.
    secrets_seconds : float
        Nodes delete an attempt's secrets so long after its last step.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)
    min_survivors: int = 0
    max_colluding: int = 1
    threshold: int = 0
    num_neighbors: int = 0
    max_dropout_fraction: float = 0.1
    consistency_check: bool = False
    identities: bool = False
    peers_file: str = ""
    secrets_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("min_survivors", "max_colluding", "threshold", "num_neighbors"):
            value = getattr(self, name)
            require(value >= 0, f"aggregation.{name}={value}: must not be negative")
        require(
            self.min_survivors != 1,
            "aggregation.min_survivors=1: one client's sum is its update",
        )
        require(
            0 <= self.max_dropout_fraction < 1,
            f"aggregation.max_dropout_fraction={self.max_dropout_fraction}: must be in [0, 1)",
        )
        require(
            0 < self.secrets_seconds < float("inf"),
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be above 0",
        )
        require(
            self.identities or not self.consistency_check,
            "aggregation.consistency_check=true: signatures need aggregation.identities=true",
        )
