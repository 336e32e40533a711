"""How the attribution of a perturbation to a request is known, one module per evidence.

``correlate`` asks them in the order of ``contract.EVIDENCE``; the first that knows answers.
"""
