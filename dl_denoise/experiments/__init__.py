"""The recipes: each trains, scores and keeps records for the ledger"""
