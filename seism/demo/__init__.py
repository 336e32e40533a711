"""``seism demo``: the whole loop on real backends, against apps with planted weaknesses."""
