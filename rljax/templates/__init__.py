"""Files to begin with, which `rljax new` copies: an algorithm, an environment, a torso of one's own."""
