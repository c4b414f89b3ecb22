"""The kinds of limits, one file each: sliding window, GCRA, quota, concurrency. A new kind is a new file here."""
