"""Grades for other people's gradebooks: Gradescope, Canvas, Moodle, CSV.

No ids are invented: a gradebook's own export is filled in, and what does not match is named.
"""
