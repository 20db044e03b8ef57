"""Read ``key=value`` pairs as Flower's commands do: run configs and node configs."""

from typing import Any


def parse_pairs(text: str) -> dict[str, Any]:
    """Return the values of ``key1="text" key2=3``, or of the TOML file that the text names.

    Raises
    ------
    ValueError
        If Flower would not take the text; the message is one line.
    """
    # Seconds, which commands that parse nothing do without.
    from click import ClickException
    from flwr.common.config import parse_config_args

    try:
        return dict(parse_config_args([text.strip()]))
    except (ClickException, ValueError, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from None
