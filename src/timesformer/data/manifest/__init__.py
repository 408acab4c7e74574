"""Which videos a data set has, and which classes they show."""
