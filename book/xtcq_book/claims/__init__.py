"""The ledger of claims: what the papers state, what the Records hold, and a verdict by one rule."""
