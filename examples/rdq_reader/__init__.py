"""A reader of .rdq files in plain Python, without NumPy and without rdquant: docs/reference/file-format.md as code.

It is slow (some thousand levels a second) and trusts its files. In the folder above,
`python -m rdq_reader FILE.rdq` lists the tensors.
"""
