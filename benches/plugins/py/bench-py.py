"""Asks for a header of the request as often as its configuration says."""

Schema = ({"calls": {"type": "integer"}},)
version = "1.0.0"
priority = 10


class Plugin:
    def __init__(self, config):
        self.calls = config["calls"]

    def access(self, kong):
        for _ in range(self.calls):
            kong.request.get_header("x-bench")
