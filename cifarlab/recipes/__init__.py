"""What a recipe is (schema, text, keys), and the shipped ones."""
