"""Rules that perturb a link, one file each; ``base`` says how to write one."""
