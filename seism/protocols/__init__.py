"""Sans-IO codecs, one file per protocol: where one message ends and whose reply it is."""
