"""Model files become layers IR."""
