"""A plugin for a server started with --no-lua-style: PDK functions give the value alone."""

Schema = ({"message": {"type": "string"}},)
version = "1.0.0"
priority = 9


class Plugin:
    def __init__(self, config):
        self.message = config.get("message", "")

    def access(self, kong):
        host = kong.request.get_header("host")
        kong.response.set_header("x-py-plain", self.message + " to " + host)
