"""The main job as one command: broker, services, venues, a thousand accounts through three real crashes."""
