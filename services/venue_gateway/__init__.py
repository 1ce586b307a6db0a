"""The only public edge: clients and venues over gRPC; everything durable is in the journal."""
