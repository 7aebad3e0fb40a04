"""Switched on for all tests: the shapes declared in signatures are checked at every call."""

from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (found by name below; pytest replaces packages not yet loaded)

# must come before the first import of these packages, hence here and not beside their tests
PACKAGES = [f"tutorlib.{name}" for name in ("mdp", "irl", "lm", "posttraining", "rewards")]
install_import_hook(PACKAGES, "tests.typecheck.checked")
