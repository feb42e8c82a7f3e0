"""Searches: a space over a recipe, stopped early by ASHA, and explained."""
