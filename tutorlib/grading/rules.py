"""What an instructor lets learners see: a file beside the worksheets that were handed out.

It keeps honest people to the course's rules and nothing more: it lies on their own machine.
"""

from __future__ import annotations

import json
from pathlib import Path

NAME = "tutorlib-course.json"


def allowed(what: str) -> bool:
    """Whether "hints" or "solutions" may be shown here; yes unless a file above says no."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / NAME
        try:
            if path.is_file():
                return json.loads(path.read_text(encoding="utf-8")).get(what) is not False
        except (OSError, ValueError, AttributeError):
            return True
    return True
