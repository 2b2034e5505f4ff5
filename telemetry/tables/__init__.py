"""Tables partitioned by time: their parts, and the days that are over."""
