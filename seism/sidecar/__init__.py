"""How perturbations reach the observers, and observations the journal."""
