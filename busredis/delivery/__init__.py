"""From an entry to its end: decode, handle, judge, settle."""
