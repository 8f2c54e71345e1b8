"""One file a public log: raw files in, Log out."""
