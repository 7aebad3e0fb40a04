"""Where public data lies: in ``$TUTORLIB_DATA``, in the Hugging Face cache, or on the Hub.

Nothing of it ships with the package, and the main path of no lesson needs it. What needs it says
so, and is skipped visibly where it is absent: ``DataNotFoundError`` says where was looked.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tutorlib.errors import DataNotFoundError, InvalidTextError

VARIABLE = "TUTORLIB_DATA"


def data_folder() -> Path | None:
    """Return the folder that ``$TUTORLIB_DATA`` names, or None if it is not set.

    Raises DataNotFoundError if it names none that exists.
    """
    stated = os.environ.get(VARIABLE)
    if not stated:
        return None
    folder = Path(stated).expanduser()
    if not folder.is_dir():
        raise DataNotFoundError(f"{VARIABLE} is {stated!r}, which is no folder; let it name the "
                                "folder with your copies, or unset it")
    return folder


def find_data(names: Sequence[str], repo: str, hub_file: str) -> Path:
    """Return the path of a data file: the first of ``names`` in the folder, else from the Hub.

    ``repo`` is a data set of the Hub, ``hub_file`` the file in it; it is downloaded once.
    Raises DataNotFoundError when it is nowhere.
    """
    folder = data_folder()
    for name in names if folder else ():
        if (folder / name).is_file():
            return folder / name
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repo, hub_file, repo_type="dataset"))
    except Exception as error:  # no package, no network, no such file: all kinds
        looked = f"{str(folder)!r} ({' or '.join(names)})" if folder else f"no {VARIABLE} (not set)"
        raise DataNotFoundError(
            f"{hub_file} of {repo} is not at hand: looked in {looked}, then in the cache and on "
            f"the Hugging Face Hub ({type(error).__name__}). This part needs it and is left out; "
            f"go online once, or put a copy in a folder and let {VARIABLE} name it") from error


def read_json_lines(path: Path, fields: Sequence[str]) -> Iterator[dict]:
    """Yield the records of a .jsonl or .jsonl.gz file, each with all ``fields``.

    Raises InvalidTextError, with the line's number, for a record that is damaged or lacks a field.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                record = json.loads(line)
                missing = [name for name in fields if name not in record]
                if missing:
                    raise InvalidTextError(f"line {number} of {path.name} has no {missing[0]!r}; "
                                           f"expected {', '.join(fields)}")
                yield record
    except (ValueError, EOFError, OSError) as error:  # no JSON, a cut-off or damaged archive
        if isinstance(error, InvalidTextError):
            raise
        raise InvalidTextError(f"{path.name} is damaged ({type(error).__name__}); fetch the file "
                               "again") from error
