"""A stranger's additions to rljax."""
