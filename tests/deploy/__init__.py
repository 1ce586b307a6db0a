"""Images and manifests: what needs neither a container engine nor a cluster."""
