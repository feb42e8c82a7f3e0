"""The machine: device, processes, threads, randomness, files, signals, errors, what is printed."""
