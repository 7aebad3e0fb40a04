"""Every name that ``tutorlib.irl`` promises is there."""

import tutorlib.irl


def test_what_is_exported_exists():
    missing = [name for name in tutorlib.irl.__all__ if not hasattr(tutorlib.irl, name)]
    assert missing == [] and len(set(tutorlib.irl.__all__)) == len(tutorlib.irl.__all__)
