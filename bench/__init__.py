"""How fast the proxies are, beside others: ``make bench``."""
