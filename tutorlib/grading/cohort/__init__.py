"""Grade a cohort: submissions in, records, feedback pages, gradebooks and exports out.

The learners' code runs in a runner (``runners``) and nowhere else; everything here handles text
and numbers. Nothing of a submission is unpickled, evaluated or used as a file name as it stands.
"""
