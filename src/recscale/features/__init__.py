"""Log to tensors: vocabularies, requests, prepared folders, batches."""
