"""What Watchpost writes, sends and runs, held against the libraries and programs that take it."""
