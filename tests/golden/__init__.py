"""Golden bytes of the wire contract: what was written once stays readable."""
