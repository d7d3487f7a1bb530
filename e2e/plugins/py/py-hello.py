"""Greets: sets a header of the answer and of the upstream's request, and appends its name to the order in
which the plugins of one request have run."""

Schema = ({"message": {"type": "string", "referenceable": True}},)
version = "1.0.0"
priority = 10

NAME = "py-hello"


class Plugin:
    def __init__(self, config):
        self.message = config.get("message", "")

    def access(self, kong):
        host, _ = kong.request.get_header("host")
        order, _ = kong.ctx.shared.get("order")
        order = (order or "") + NAME + " "
        kong.ctx.shared.set("order", order)
        kong.service.request.set_header("x-order", order)
        kong.service.request.set_header("x-" + NAME, self.message)
        kong.response.set_header("x-" + NAME, f"Python says {self.message} to {host}")
