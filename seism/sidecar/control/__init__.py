"""The sidecar's HTTP API: a small router, Toxiproxy's routes, who may call, the server."""
