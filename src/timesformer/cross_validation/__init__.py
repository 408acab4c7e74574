"""Cross-validation over groups: a run for each fold, one table, and accuracy over numbers of videos."""
