"""Switched on for all tests: the shapes declared in signatures are checked at every call."""

from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (found by name below; pytest replaces packages not yet loaded)

# must come before the first import of these packages, hence here and not beside their tests
install_import_hook(["tutorlib.mdp", "tutorlib.irl", "tutorlib.lm", "tutorlib.posttraining"],
                    "tests.typecheck.checked")
