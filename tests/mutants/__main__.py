"""`python -m tests.mutants`: run the list, a line for each; 1 if any mutation is not killed."""

import argparse
import json
import queue
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from tests import ROOT
from tests.mutants.catalogue import MUTATIONS
from tests.mutants.mutation import Mutation, StaleMutationError
from tests.mutants.runner import (
    Result,
    copy_tree,
    end_running,
    run_mutation,
    run_unmutated,
)

_Item = TypeVar("_Item")
_WIDTHS = "{:8} {:6.1f} s  {}"


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = _arguments()
    chosen = [m for m in MUTATIONS if not options.only or m.name in options.only]
    unknown = set(options.only) - {m.name for m in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    if options.list:
        return _list(chosen)
    folder = Path(tempfile.mkdtemp(prefix="tacet-mutants-"))
    try:
        results = _run(folder, chosen, options.jobs)
    finally:
        end_running()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    killed = sum(result.status == "killed" for result in results)
    print(f"{killed} of {len(chosen)} mutations killed")
    return 0 if killed == len(chosen) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="run nothing; 1 if any is stale")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="copies at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    return parser.parse_args()


def _list(mutations: list[Mutation]) -> int:
    """Print the names, and which mutations no longer fit their files."""
    stale = 0
    for mutation in mutations:
        said = mutation.file
        try:
            mutation.applied(ROOT)
        except StaleMutationError as error:
            said, stale = f"STALE: {error}", stale + 1
        print(f"{mutation.name}  ({said})")
    return 1 if stale else 0


def _run(folder: Path, mutations: list[Mutation], jobs: int) -> list[Result]:
    """Run the tests without and then with the mutations; broken tests end it in between."""
    copies: queue.Queue[Path] = queue.Queue()
    for number in range(jobs):
        copies.put(copy_tree(folder / str(number)))
    selections = dict.fromkeys(mutation.tests for mutation in mutations)
    print(f"{len(selections)} selections of tests without a mutation:", flush=True)
    plain = _each(copies, selections, run_unmutated)
    if broken := [result for result in plain if result.status == "ERROR"]:
        return broken
    print(f"{len(mutations)} mutations:", flush=True)
    return _each(copies, mutations, run_mutation)


def _each(
    copies: "queue.Queue[Path]",
    items: Iterable[_Item],
    work: Callable[[Path, _Item], Result],
) -> list[Result]:
    """Work on each item in a copy that nobody else is using; print each result."""

    def on_a_copy(item: _Item) -> Result:
        copy = copies.get()
        try:
            return work(copy, item)
        finally:
            copies.put(copy)

    results: list[Result] = []
    pool = ThreadPoolExecutor(copies.qsize())
    try:
        for done in as_completed([pool.submit(on_a_copy, item) for item in items]):
            result = done.result()
            results.append(result)
            print(_WIDTHS.format(result.status, result.seconds, result.name), flush=True)
            if result.status not in ("killed", "passes"):
                print(f"         {result.detail}", flush=True)
    finally:
        # Ctrl-C ends what is running and starts nothing more.
        pool.shutdown(wait=False, cancel_futures=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
