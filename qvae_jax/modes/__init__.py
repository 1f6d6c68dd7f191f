"""The modes of the command line, one file and one function each."""
