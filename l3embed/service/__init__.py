"""The embedding service: a door onto the corridor over HTTP. `server.serve` opens it, `app.make_app` is it.

request ─uploads─▶ file ─decoders─▶ rows ─batching─▶ vectors ─answers─▶ response
"""
