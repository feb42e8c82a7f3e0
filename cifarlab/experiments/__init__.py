"""Studies and searches: recipes trained over seeds or a space, and what follows."""
