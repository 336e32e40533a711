"""The long proofs: which there are, how they are run, and the page that says when they were."""
