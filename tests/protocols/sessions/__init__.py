"""What clients do on a connection, per protocol: recorded for the codecs, run through faults."""
