"""A model checker for the credits: the gate itself and actors' sessions themselves, among all that can befall them."""
