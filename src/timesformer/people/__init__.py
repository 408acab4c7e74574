"""Pretraining on generated people: drawn bodies that move, and a model that learns where their joints are."""
