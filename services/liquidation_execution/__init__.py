"""Process manager of liquidation episodes and owner of the router: plan, place, check again, waterfall."""
