"""The picture of a host in one file, which can be judged elsewhere.

Taken by take.py, cleaned by clean.py of whatever is not known to be harmless, with other names for all names by
anonymous.py where that is wished; written and read by document.py; judged again by judged.py, and, where an umount is
to be predicted, given to foresee.py by surveyed.py.
"""
