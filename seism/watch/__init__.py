"""``seism watch``: the dashboard for those on ssh."""
