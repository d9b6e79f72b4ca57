"""What the pages share: the papers' tables, the ledger of claims, scores, plots; and what single chapters need."""
