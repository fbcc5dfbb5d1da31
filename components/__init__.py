"""The components of Watchpost, one module each: settings, a host, what runs on it, and what watches it in Datadog."""
