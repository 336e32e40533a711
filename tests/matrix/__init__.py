"""The matrix: each client under each model of concurrency, against the truth in the payload."""
