"""How shapes and types in signatures are checked while testing."""

from beartype import BeartypeConf, beartype

# an int where a float is declared is fine, as in any Python code
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
