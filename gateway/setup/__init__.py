"""Setting up: keys, the files that `tagway init` writes, sample events, neutral path names. No network."""
