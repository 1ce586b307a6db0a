"""What is deployed: rendered, held against schemas, house policies and the flows of the architecture page."""
