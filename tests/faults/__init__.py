"""What may fail fails: processes, disks, S3, clocks. `make faults` prints a line for each."""
