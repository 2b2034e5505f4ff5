"""What Fleetportal costs and how fast it is, measured. Each `python -m benchmarks.<name>` ends in one line of JSON."""
