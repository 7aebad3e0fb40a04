"""Run code that cannot be trusted in a box, and get nothing out of it but data."""
