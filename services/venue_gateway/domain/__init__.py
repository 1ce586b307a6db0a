"""Pure rules of the edge: translation, report cursors, order dispatch."""
