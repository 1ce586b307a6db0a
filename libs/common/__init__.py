"""What two or more services share: the chain, topics, codecs, numbers, clocks and wiring."""
