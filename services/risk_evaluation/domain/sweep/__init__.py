"""The margin of every account in one pass over its lines, in machine code; `domain.margin` is its readable oracle."""
