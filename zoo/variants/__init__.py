"""One paper a file; the file's name is the registered name. A new file here needs no other edit anywhere."""
