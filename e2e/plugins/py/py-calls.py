"""Asks for a header as often as its configuration says: the measure of what a PDK call costs."""

Schema = ({"calls": {"type": "integer", "default": 0}},)
version = "1.0.0"
priority = 2


class Plugin:
    def __init__(self, config):
        self.calls = config["calls"]

    def access(self, kong):
        for _ in range(self.calls):
            kong.request.get_header("host")
