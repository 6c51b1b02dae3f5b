"""The picture of a host in one file, from which its findings can be made elsewhere.

Taken by take.py, cleared by redact.py of whatever is not known to be harmless, given other names for all names by
anonymize.py where that is asked for; written and read by file.py; turned into findings again by rejudge.py, and into
what a prediction is made from by all_mounts.py.
"""
