"""How a link between a perturbation and a request is known, one module per evidence.

``correlate`` asks them in the order of ``contract.EVIDENCE``; the first that knows answers.
"""
