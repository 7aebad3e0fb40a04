"""Graders, one module per unit: oracle, cases, properties, mutants, accepted variants, hints."""
