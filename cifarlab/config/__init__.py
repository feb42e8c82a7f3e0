"""The mechanism of settings: frozen configs, durations with units. No kind, no torch."""
