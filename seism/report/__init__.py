"""Views of one ``seism.verdict.Judgement``: files, the terminal, and progress while it runs."""
