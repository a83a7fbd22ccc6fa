"""How variants are made: methods, recipes, training, export and measurement (needs torch)."""
