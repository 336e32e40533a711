"""Views of one ``Judgement``: files, the terminal, and progress while a run lasts."""
