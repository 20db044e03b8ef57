"""Real records for a trial: scikit-learn's breast-cancer records, dealt out as CSV files.

    python -m deploy.records north/records.csv east/records.csv south/records.csv

writes one part into each file, with the columns of conf/task/csv_breast_cancer.yaml.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

#: Our columns, and what scikit-learn calls them.
COLUMNS = {
    **{"radius": "mean radius", "texture": "mean texture", "area": "mean area"},
    **{"smoothness": "mean smoothness", "compactness": "mean compactness"},
    **{"concavity": "mean concavity", "symmetry": "mean symmetry"},
}


def write_records(path: Path, number: int, num_parts: int) -> None:
    """Write one of the parts; every record is in one of them.

    Parameters
    ----------
    path : Path
        The CSV file.
    number, num_parts : int
        Which part, from 0, of how many.
    """
    # One second to import, and not needed for --help.
    from sklearn.datasets import load_breast_cancer

    records: Any = load_breast_cancer()
    names = list(records.feature_names)
    columns = records.data[:, [names.index(name) for name in COLUMNS.values()]]
    labels = ["malignant" if target == 0 else "benign" for target in records.target]
    rows = list(zip(columns.tolist(), labels, strict=True))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "diagnosis"])
        writer.writerows([*row, label] for row, label in rows[number::num_parts])


def main() -> None:
    """Write the files that the command line names."""
    files = [Path(name) for name in sys.argv[1:]]
    if not files or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    for number, file in enumerate(files):
        write_records(file, number, len(files))


if __name__ == "__main__":
    main()
