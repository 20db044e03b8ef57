"""Physical lines of a text file, each read alone.

Where records are protected, a line must not have a say in how another one is read: not by a
quote that it leaves open, nor by bytes that no decoder takes, nor by a length that fills the
memory. So a file is cut at its line breaks before anything else looks at it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.records import DataError

#: Characters of a line, at most: a table of some 100,000 columns.
LONGEST_LINE = 2**20

# How "surrogateescape" keeps a byte that is not UTF-8: nothing else decodes to these.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


class Line(NamedTuple):
    """One physical line, from 1, without its line break.

    ``fault`` says why it cannot be read, with the mend; it is empty for a line that can.
    """

    number: int
    text: str
    fault: str = ""


def physical_lines(file: Path) -> Iterator[Line]:
    """Yield each line of a UTF-8 file; LF, CRLF and CR end one, a byte order mark is skipped.

    No line changes how another one is read. Of a line that is too long, nothing is kept.

    Raises
    ------
    DataError
        If the file cannot be opened or read.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            number = 0
            # One character more than a line may have, its break not counted.
            while text := stream.readline(LONGEST_LINE + 1):
                number += 1
                if text.endswith("\n"):
                    yield _checked(number, text[:-1])
                elif len(text) <= LONGEST_LINE:
                    yield _checked(number, text)
                else:
                    while text and not text.endswith("\n"):
                        text = stream.readline(LONGEST_LINE)
                    yield Line(
                        number,
                        "",
                        f"it is longer than {LONGEST_LINE} characters; mend its end of line",
                    )
    except OSError as error:
        raise DataError(f"data-path={file}: {error.strerror}; it must be a text file") from None


def _checked(number: int, text: str) -> Line:
    if "\0" in text:
        why = "it holds a NUL byte; save the file as UTF-8, not UTF-16, and mend the line"
        return Line(number, text.replace("\0", ""), why)
    if not text.isascii() and (byte := _ESCAPED_BYTE.search(text)):
        why = f"byte 0x{ord(byte[0]) - 0xDC00:02x} is not UTF-8; save the file as UTF-8"
        return Line(number, _ESCAPED_BYTE.sub("\N{REPLACEMENT CHARACTER}", text), why)
    return Line(number, text)
